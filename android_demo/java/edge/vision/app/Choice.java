package edge.vision.app;

import java.util.Objects;

/** What the user chose: a model, what runs it, and where its input comes from. */
final class Choice {
    static final String SAMPLE = "sample";
    static final String CAMERA = "camera";
    static final String MICROPHONE = "microphone";

    final String model;
    final Backend backend;
    final int threads;
    /** One of the words above, or the address of a picked file. */
    final String source;
    final boolean front;

    Choice(String model, Backend backend, int threads, String source, boolean front) {
        this.model = model;
        this.backend = backend;
        this.threads = threads;
        this.source = source;
        this.front = front;
    }

    @Override
    public boolean equals(Object other) {
        if (!(other instanceof Choice)) {
            return false;
        }
        Choice that = (Choice) other;
        return model.equals(that.model) && backend == that.backend && threads == that.threads
                && source.equals(that.source) && front == that.front;
    }

    @Override
    public int hashCode() {
        return Objects.hash(model, backend, threads, source, front);
    }
}
