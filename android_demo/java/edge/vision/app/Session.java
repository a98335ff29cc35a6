package edge.vision.app;

import edge.vision.core.Card;
import edge.vision.core.Decoder;
import edge.vision.core.Decoders;
import edge.vision.core.Geometry;
import edge.vision.core.Picture;
import edge.vision.core.Preprocessor;
import edge.vision.core.Refusal;
import edge.vision.core.Result;
import edge.vision.core.Sound;
import edge.vision.core.SoundPreprocessor;
import edge.vision.core.TfliteCard;
import edge.vision.core.Timings;
import java.nio.ByteBuffer;

/** A model that is ready to answer: preprocess, infer, decode, each timed. One thread owns it. */
final class Session implements AutoCloseable {
    private static final int KEPT_TIMES = 200;

    final String name;
    final Card card;
    final Engine engine;
    final Timings pre = new Timings(KEPT_TIMES);
    final Timings infer = new Timings(KEPT_TIMES);
    final Timings decode = new Timings(KEPT_TIMES);
    private final Preprocessor pictures;
    private final SoundPreprocessor sounds;
    private final Decoder decoder;

    Session(String name, ByteBuffer model, Backend backend, int threads) {
        this.name = name;
        card = TfliteCard.read(model);
        pictures = card.input.kind.equals("image") ? new Preprocessor(card.input) : null;
        sounds = card.input.kind.equals("audio") ? new SoundPreprocessor(card.input) : null;
        decoder = Decoders.of(card);
        engine = new Engine(model, card, backend, threads);
    }

    boolean takesPictures() {
        return pictures != null;
    }

    boolean takesSound() {
        return sounds != null;
    }

    /** Samples at the card's rate that live sound must come in. */
    int soundLength() {
        return sounds.length();
    }

    Result run(Picture picture) {
        if (pictures == null) {
            throw new Refusal("this model takes no picture");
        }
        long start = System.nanoTime();
        Geometry geometry = pictures.prepare(picture);
        return finish(start, pictures.tensor(), geometry);
    }

    Result run(Sound sound) {
        if (sounds == null) {
            throw new Refusal("this model takes no sound");
        }
        long start = System.nanoTime();
        sounds.prepare(sound);
        return finish(start, sounds.tensor(), null);
    }

    /** The next window of live sound; see {@code Mel.next}. */
    Result run(float[] window, int hops) {
        long start = System.nanoTime();
        sounds.next(window, hops);
        return finish(start, sounds.tensor(), null);
    }

    @Override
    public void close() {
        engine.close();
    }

    private Result finish(long start, float[] tensor, Geometry geometry) {
        long prepared = System.nanoTime();
        float[][] outputs = engine.run(tensor);
        long inferred = System.nanoTime();
        Result result = decoder.decode(outputs, geometry, Decoder.DEFAULT);
        long decoded = System.nanoTime();
        pre.add((prepared - start) / 1e6);
        infer.add((inferred - prepared) / 1e6);
        decode.add((decoded - inferred) / 1e6);
        return result;
    }
}
