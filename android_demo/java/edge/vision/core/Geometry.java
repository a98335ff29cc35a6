package edge.vision.core;

/** The map from a picture's pixels to those of the network input; both origins are top-left. */
public final class Geometry {
    /** Of the picture, pixels. */
    public final int height;
    public final int width;
    /** The top-left part of the input that the picture fills; the rest is padding. */
    public final int contentHeight;
    public final int contentWidth;
    /** Input pixels per pixel of the picture. */
    public final double scaleX;
    public final double scaleY;

    public Geometry(int height, int width, int contentHeight, int contentWidth) {
        this.height = height;
        this.width = width;
        this.contentHeight = contentHeight;
        this.contentWidth = contentWidth;
        scaleX = (double) contentWidth / width;
        scaleY = (double) contentHeight / height;
    }
}
