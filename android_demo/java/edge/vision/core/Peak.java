package edge.vision.core;

/** A joint on the decoding grid: x and y in pixels of the enlarged map, the first pixel's centre at 0. */
final class Peak {
    final double x;
    final double y;
    final float height;
    /** Counts on from part to part. */
    int id;

    Peak(double x, double y, float height) {
        this.x = x;
        this.y = y;
        this.height = height;
    }
}
