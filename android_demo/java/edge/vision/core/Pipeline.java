package edge.vision.core;

/** A model that is ready to answer: preprocess, infer, decode, each timed. One thread owns it, and its engine with it. */
public class Pipeline implements AutoCloseable {
    private static final int KEPT_TIMES = 200;

    public final Card card;
    public final Timings pre = new Timings(KEPT_TIMES);
    public final Timings infer = new Timings(KEPT_TIMES);
    public final Timings decode = new Timings(KEPT_TIMES);
    private final Network engine;
    private final Preprocessor pictures;
    private final SoundPreprocessor sounds;
    private final Decoder decoder;
    private final double[] last = new double[3];

    /** Takes over an engine that has loaded the card's file; it is closed, too, where the card is refused here. */
    public Pipeline(Card card, Network engine) {
        this.card = card;
        this.engine = engine;
        try {
            pictures = card.input.kind.equals("image") ? new Preprocessor(card.input) : null;
            sounds = card.input.kind.equals("audio") ? new SoundPreprocessor(card.input) : null;
            decoder = Decoders.of(card);
        } catch (RuntimeException refused) {
            engine.close();
            throw refused;
        }
    }

    public boolean takesPictures() {
        return pictures != null;
    }

    public boolean takesSound() {
        return sounds != null;
    }

    /** Samples at the card's rate that live sound must come in. */
    public int soundLength() {
        return sounds.length();
    }

    public Result run(Picture picture) {
        if (pictures == null) {
            throw new Refusal("this model takes no picture");
        }
        long start = System.nanoTime();
        Geometry geometry = pictures.prepare(picture);
        return finish(start, pictures.tensor(), geometry);
    }

    public Result run(Sound sound) {
        if (sounds == null) {
            throw new Refusal("this model takes no sound");
        }
        long start = System.nanoTime();
        sounds.prepare(sound);
        return finish(start, sounds.tensor(), null);
    }

    /** The next window of live sound; see {@code Mel.next}. */
    public Result run(float[] window, int hops) {
        long start = System.nanoTime();
        sounds.next(window, hops);
        return finish(start, sounds.tensor(), null);
    }

    /** Inference alone, of a tensor that was prepared elsewhere; see {@link Network#run}. */
    public float[][] infer(float[] tensor) {
        return engine.run(tensor);
    }

    /** Preprocessing, inference and decoding of the last answer, ms; overwritten by the next one. */
    public double[] times() {
        return last;
    }

    /** Forgets the times of what was asked so far. */
    public void forgetTimes() {
        pre.clear();
        infer.clear();
        decode.clear();
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
        last[0] = (prepared - start) / 1e6;
        last[1] = (inferred - prepared) / 1e6;
        last[2] = (decoded - inferred) / 1e6;
        pre.add(last[0]);
        infer.add(last[1]);
        decode.add(last[2]);
        return result;
    }
}
