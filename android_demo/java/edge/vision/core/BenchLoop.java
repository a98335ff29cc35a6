package edge.vision.core;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/**
 * The harness inside a device that runs Java: takes a plan and says events, each a line of JSON, as soon as it knows
 * them, so that a device which vanishes leaves what it had measured. They are those of {@code edge/bench/worker.py}:
 * start, loaded, infer, frame, done; or failed. Between loaded and infer come the outputs of the first inference, in
 * pieces ("output"), to be held against another engine's.
 */
public final class BenchLoop {
    /** How a benchmark ended: as the worker's exit codes. */
    public static final int DONE = 0;
    public static final int REFUSED = 2;
    public static final int NO_MEMORY = 5;
    public static final int BROKEN = 70;

    private static final double FLUSH_MS = 500;
    private static final int FLUSH_RUNS = 1000; // two columns of these are far below what Android's binder carries
    private static final int LEAST_WARM = 2;
    private static final int PIECE = 8192; // values in a line of output
    private static final int PROBE_WARM = 5;
    private static final int PROBE_RUNS = 9;
    private static final int PROBE_STEPS = 2_000_000;

    private final BenchPlan plan;
    private final BenchPlace place;
    private int hottest = -1;
    private long sink; // what the probe computes, so that nobody computes it away

    private BenchLoop(BenchPlan plan, BenchPlace place) {
        this.plan = plan;
        this.place = place;
    }

    /** Does a plan, a JSON text, and returns how it ended; what went wrong is said, not thrown. */
    public static int run(String plan, BenchPlace place) {
        try {
            new BenchLoop(BenchPlan.fromJson(plan), place).measure();
            return DONE;
        } catch (Refusal refused) {
            return failed(place::say, REFUSED, refused.getMessage());
        } catch (OutOfMemoryError full) {
            return failed(place::say, NO_MEMORY, "out of memory");
        } catch (IOException | RuntimeException | LinkageError broken) {
            return failed(place::say, BROKEN, broken.getClass().getSimpleName() + ": " + broken.getMessage());
        }
    }

    /** Says that nothing more comes, and why; returns the code. */
    public static int failed(Consumer<String> lines, int code, String message) {
        Map<String, Object> event = event("failed");
        event.put("exit_code", code);
        event.put("message", "error: " + message);
        lines.accept(Json.write(event));
        return code;
    }

    private void measure() throws IOException {
        say(state("start"));
        ByteBuffer model = place.read(plan.model);
        Card card = TfliteCard.read(model);
        float[] tensor = tensor(card);
        long start = System.nanoTime();
        Network engine = place.open(model, card, plan.threads);
        double loadMs = since(start);
        try (Pipeline pipeline = new Pipeline(card, engine)) {
            start = System.nanoTime();
            float[][] outputs = pipeline.infer(tensor);
            double firstMs = since(start);
            Map<String, Object> loaded = event("loaded");
            Map<String, Object> ran = place.engine();
            loaded.put("engine", ran);
            loaded.put("import_ms", 0.0); // part of the app
            loaded.put("load_ms", loadMs);
            loaded.put("first_ms", firstMs);
            say(loaded);
            sayOutputs(outputs);
            Runnable infer = () -> pipeline.infer(tensor);
            warm(infer, plan.warmUpS);
            inferLoop(infer);
            Runnable frame = plan.stagesS > 0 ? frame(pipeline) : null;
            if (frame != null) {
                warm(frame, plan.warmUpS / 2);
                frameLoop(frame, pipeline);
            }
            if (!place.engine().equals(ran)) { // a backend failed on the way, and another took over
                throw new Refusal("another backend took over while it was measured", ran, place.engine());
            }
        }
        Map<String, Object> done = state("done");
        long peak = place.peakBytes();
        done.put("peak_rss_bytes", peak > 0 ? peak : null);
        say(done);
    }

    private float[] tensor(Card card) throws IOException {
        FloatBuffer values = place.read(plan.tensor).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
        if (values.remaining() != card.input.size()) {
            throw new Refusal("the tensor has the wrong size", card.input.size() + " values", values.remaining());
        }
        float[] tensor = new float[values.remaining()];
        values.get(tensor);
        return tensor;
    }

    /** Returns one whole frame: of the source, or of the app's own sample; null where there is neither. */
    private Runnable frame(Pipeline pipeline) throws IOException {
        Object source = plan.source != null ? source() : plan.app ? place.sample(pipeline.card) : null;
        if (source instanceof Picture) {
            return () -> pipeline.run((Picture) source);
        }
        if (source instanceof Sound) {
            return () -> pipeline.run((Sound) source);
        }
        return null;
    }

    private Object source() throws IOException {
        ByteBuffer content = place.read(plan.source);
        if (plan.width == 0 || plan.height == 0) {
            byte[] bytes = new byte[content.remaining()];
            content.get(bytes);
            return WavReader.read(bytes);
        }
        if (content.remaining() != 3L * plan.width * plan.height) {
            throw new Refusal("the picture has the wrong size", 3L * plan.width * plan.height, content.remaining());
        }
        int[] pixels = new int[plan.width * plan.height];
        for (int i = 0; i < pixels.length; i++) {
            pixels[i] = (content.get() & 255) << 16 | (content.get() & 255) << 8 | content.get() & 255;
        }
        return new Picture(plan.width, plan.height, pixels);
    }

    private void inferLoop(Runnable infer) {
        boolean timed = place.cpuNanos() >= 0;
        List<Object> wallMs = new ArrayList<>();
        List<Object> cpuMs = new ArrayList<>();
        int done = 0;
        long began = System.nanoTime();
        long flushed = began;
        long cpu = place.cpuNanos();
        boolean over = false;
        while (!over) {
            long wall = System.nanoTime();
            infer.run();
            wallMs.add(since(wall));
            long before = cpu;
            cpu = place.cpuNanos(); // our own notes are counted too
            cpuMs.add((cpu - before) / 1e6);
            done++;
            over = done >= plan.runs && since(began) >= 1e3 * plan.seconds;
            if (over || since(flushed) >= FLUSH_MS || wallMs.size() >= FLUSH_RUNS) {
                Map<String, Object> event = event("infer");
                event.put("wall_ms", wallMs);
                if (timed) {
                    event.put("cpu_ms", cpuMs);
                }
                flush(event);
                wallMs.clear();
                cpuMs.clear();
                infer.run(); // untimed: saying the line has cooled the caches
                flushed = System.nanoTime();
                cpu = place.cpuNanos();
            }
        }
    }

    private void frameLoop(Runnable frame, Pipeline pipeline) {
        String[] names = {"pre_ms", "infer_ms", "decode_ms"};
        List<List<Object>> columns = new ArrayList<>();
        for (int i = 0; i < names.length; i++) {
            columns.add(new ArrayList<>());
        }
        int done = 0;
        long began = System.nanoTime();
        long flushed = began;
        boolean over = false;
        while (!over) {
            frame.run();
            for (int i = 0; i < names.length; i++) {
                columns.get(i).add(pipeline.times()[i]);
            }
            done++;
            over = done >= plan.stageRuns && since(began) >= 1e3 * plan.stagesS;
            if (over || since(flushed) >= FLUSH_MS || columns.get(0).size() >= FLUSH_RUNS) {
                Map<String, Object> event = event("frame");
                for (int i = 0; i < names.length; i++) {
                    event.put(names[i], columns.get(i));
                }
                flush(event);
                columns.forEach(List::clear);
                frame.run();
                flushed = System.nanoTime();
            }
        }
    }

    private void warm(Runnable work, double seconds) {
        long start = System.nanoTime();
        for (int done = 0; done < LEAST_WARM || since(start) < 1e3 * seconds; done++) {
            work.run();
        }
    }

    private void flush(Map<String, Object> event) {
        hottest = Math.max(hottest, place.thermalStatus());
        say(event);
    }

    private void sayOutputs(float[][] outputs) {
        char[] digits = "0123456789abcdef".toCharArray();
        for (int index = 0; index < outputs.length; index++) {
            float[] values = outputs[index];
            for (int start = 0; start < values.length; start += PIECE) {
                int count = Math.min(PIECE, values.length - start);
                char[] text = new char[8 * count];
                for (int i = 0; i < count; i++) {
                    int bits = Float.floatToRawIntBits(values[start + i]);
                    for (int digit = 0; digit < 8; digit++) {
                        text[8 * i + digit] = digits[bits >>> 28 - 4 * digit & 15];
                    }
                }
                Map<String, Object> event = event("output");
                event.put("index", index);
                event.put("start", start);
                event.put("float32", new String(text));
                say(event);
            }
        }
    }

    private Map<String, Object> state(String kind) {
        Map<String, Object> event = event(kind);
        if (kind.equals("start")) {
            event.put("schema", BenchPlan.SCHEMA);
        }
        hottest = Math.max(hottest, place.thermalStatus());
        Map<String, Object> environment = new LinkedHashMap<>(place.environment());
        environment.put("probe_ms", probeMs());
        environment.put("thermal_status", hottest < 0 ? null : hottest);
        event.put("environment", environment);
        return event;
    }

    /** Returns how long a fixed piece of work takes on one thread, ms: the least of several, as it is the undisturbed. */
    private double probeMs() {
        double least = Double.MAX_VALUE;
        for (int i = 0; i < PROBE_WARM + PROBE_RUNS; i++) {
            long start = System.nanoTime();
            long value = sink | 1;
            for (int step = 0; step < PROBE_STEPS; step++) {
                value = value * 6364136223846793005L + 1442695040888963407L; // each step waits for the one before
            }
            sink = value;
            least = i < PROBE_WARM ? least : Math.min(least, since(start));
        }
        return least;
    }

    private void say(Map<String, Object> event) {
        place.say(Json.write(event));
    }

    private static Map<String, Object> event(String kind) {
        Map<String, Object> event = new LinkedHashMap<>();
        event.put("event", kind);
        return event;
    }

    private static double since(long nanoTime) {
        return (System.nanoTime() - nanoTime) / 1e6;
    }
}
