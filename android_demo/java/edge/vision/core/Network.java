package edge.vision.core;

/** What executes a loaded model: one tensor in, the card's outputs out. One thread owns it. */
public interface Network extends AutoCloseable {
    /** Returns the outputs in the order of the card, overwritten by the next call. */
    float[][] run(float[] tensor);

    @Override
    void close();
}
