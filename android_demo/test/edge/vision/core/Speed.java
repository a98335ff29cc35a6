package edge.vision.core;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.Random;

/**
 * What preprocessing and decoding take on this JVM for each model file: printed, never asserted. Processor time of the
 * thread, so that a busy machine does not count.
 *
 * <p>Pictures are 640 x 480 and of chance pixels; outputs are those of the busiest golden case of the family. Sound is a
 * whole clip, and live sound that moves on by a tenth of a second.
 */
public final class Speed {
    private static final int RUNS = 60;
    private static final int LIVE_HOPS = 4; // 93 ms at 22050 Hz and 512 samples a hop

    private static final ThreadMXBean CLOCK = ManagementFactory.getThreadMXBean();

    private Speed() {}

    /** Prints a line a model; the golden folder is named first, then model files. */
    public static void main(String[] arguments) throws IOException {
        System.out.println("model, stage, p50 ms, p90 ms");
        for (int i = 1; i < arguments.length; i++) {
            Path path = Paths.get(arguments[i]);
            Card card = TfliteCard.read(ByteBuffer.wrap(Files.readAllBytes(path)));
            if (card.input.kind.equals("audio")) {
                sound(card);
            } else {
                picture(card, Golden.read(Paths.get(arguments[0])));
            }
        }
    }

    private static void picture(Card card, Iterable<Golden.Case> cases) {
        Random random = new Random(1);
        int[] pixels = new int[640 * 480];
        for (int i = 0; i < pixels.length; i++) {
            pixels[i] = random.nextInt(1 << 24);
        }
        Picture picture = new Picture(640, 480, pixels);
        Preprocessor preprocessor = new Preprocessor(card.input);
        Decoder decoder = Decoders.of(card);
        float[][] outputs = busiest(card, cases);
        Geometry geometry = preprocessor.prepare(picture);
        time(card.model, "pre", () -> preprocessor.prepare(picture));
        time(card.model, "decode", () -> decoder.decode(outputs, geometry, Decoder.DEFAULT));
        time(card.model, "pre + decode", () ->
                decoder.decode(outputs, preprocessor.prepare(picture), Decoder.DEFAULT));
    }

    /** The outputs, among golden ones of the card's sizes, in which most is found. */
    private static float[][] busiest(Card card, Iterable<Golden.Case> cases) {
        float[][] best = null;
        int most = -1;
        Decoder decoder = Decoders.of(card);
        for (Golden.Case item : cases) {
            float[][] outputs = item.outputsOf(card);
            if (outputs != null) {
                Result result = decoder.decode(outputs, null, Decoder.DEFAULT);
                int found = result.people.size() + result.faces.size();
                if (found > most) {
                    most = found;
                    best = outputs;
                }
            }
        }
        if (best == null) {
            throw new IllegalStateException("no golden case fits " + card.model);
        }
        System.out.println(card.model + ", finds, " + most + ", ");
        return best;
    }

    private static void sound(Card card) {
        Random random = new Random(1);
        SoundPreprocessor preprocessor = new SoundPreprocessor(card.input);
        float[] samples = new float[preprocessor.length()];
        for (int i = 0; i < samples.length; i++) {
            samples[i] = (float) random.nextGaussian() / 10;
        }
        Sound clip = new Sound(samples, card.input.audio.sampleRate);
        Decoder decoder = Decoders.of(card);
        float[][] outputs = {{0.1f, -0.2f}};
        time(card.model, "pre + decode, a whole clip", () -> {
            preprocessor.prepare(clip);
            decoder.decode(outputs, null, Decoder.DEFAULT);
        });
        preprocessor.next(samples, Integer.MAX_VALUE);
        time(card.model, "pre + decode, live, 93 ms on", () -> {
            preprocessor.next(samples, LIVE_HOPS);
            decoder.decode(outputs, null, Decoder.DEFAULT);
        });
    }

    private static void time(String model, String stage, Runnable work) {
        Timings timings = new Timings(RUNS);
        for (int i = 0; i < 2 * RUNS; i++) { // the first half warms up
            long start = CLOCK.getCurrentThreadCpuTime();
            work.run();
            timings.add((CLOCK.getCurrentThreadCpuTime() - start) / 1e6);
        }
        System.out.printf("%s, %s, %.2f, %.2f%n", model, stage, timings.percentile(0.5), timings.percentile(0.9));
    }
}
