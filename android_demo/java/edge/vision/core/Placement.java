package edge.vision.core;

/**
 * Where a picture lies on a view: as large as fits, in the middle, mirrored left to right or not. The picture and what is
 * drawn over it go through the same map, so that they cannot part.
 */
public final class Placement {
    public final float scale;
    public final float left;
    public final float top;
    public final boolean mirrored;
    private final int pictureWidth;

    public Placement(int pictureWidth, int pictureHeight, int viewWidth, int viewHeight, boolean mirrored) {
        scale = Math.min((float) viewWidth / pictureWidth, (float) viewHeight / pictureHeight);
        left = (viewWidth - pictureWidth * scale) / 2;
        top = (viewHeight - pictureHeight * scale) / 2;
        this.mirrored = mirrored;
        this.pictureWidth = pictureWidth;
    }

    /** Returns where a continuous x of the picture lies on the view. */
    public float x(double pictureX) {
        return (float) (left + (mirrored ? pictureWidth - pictureX : pictureX) * scale);
    }

    /** Returns where a continuous y of the picture lies on the view. */
    public float y(double pictureY) {
        return (float) (top + pictureY * scale);
    }

    /** Returns the affine map as a 3 x 3 matrix by rows, for the platform's drawing of the picture itself. */
    public float[] matrix() {
        float across = mirrored ? -scale : scale;
        float start = mirrored ? left + pictureWidth * scale : left;
        return new float[] {across, 0, start, 0, scale, top, 0, 0, 1};
    }
}
