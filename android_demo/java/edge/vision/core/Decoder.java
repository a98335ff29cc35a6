package edge.vision.core;

/**
 * From a network's outputs to a result. Decoders keep buffers from call to call: one instance serves one thread.
 */
public interface Decoder {
    /** Stands for the card's own threshold. */
    double DEFAULT = Double.NaN;

    /**
     * Returns what the outputs say.
     *
     * @param outputs in the order and with the shapes of the card; values may be NaN or infinite
     * @param geometry maps to the picture; null leaves coordinates in input pixels
     * @param threshold lowest score of a face, or confidence of a person, to list; {@link #DEFAULT}: the card's
     *     {@code display_threshold} for faces, everybody for people
     */
    Result decode(float[][] outputs, Geometry geometry, double threshold);
}
