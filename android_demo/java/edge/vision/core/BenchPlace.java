package edge.vision.core;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Map;

/** The machine that a benchmark runs on: all in which a phone differs from the JVM of its stand-in. */
public interface BenchPlace {
    /** Returns a file's bytes, mapped where that can be; a {@link Refusal} where they are not what was sent. */
    ByteBuffer read(BenchPlan.Item item) throws IOException;

    /** Returns an engine that has loaded the model. */
    Network open(ByteBuffer model, Card card, int threads);

    /** Name, version and threads of the engine that was opened last, and what else there is to say of it. */
    Map<String, Object> engine();

    /** The app's own picture or sound for a family of models, as {@link Picture} or {@link Sound}; null for none. */
    Object sample(Card card) throws IOException;

    /** The machine's state as far as this process sees it; plain JSON values. */
    Map<String, Object> environment();

    /** Processor time of the calling thread, ns; below 0 where nobody knows it. */
    long cpuNanos();

    /** How hot the machine says it is now, 0 for not throttled; below 0 where it does not tell. Cheap. */
    int thermalStatus();

    /** Most memory that this process has held, bytes; 0 where nobody knows it. */
    long peakBytes();

    /** Takes one event, a line of JSON; it is gone from this process when this returns. */
    void say(String line);
}
