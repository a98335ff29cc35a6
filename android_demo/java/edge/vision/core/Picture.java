package edge.vision.core;

/** A picture as platforms hand it over: one int a pixel, 0xRRGGBB (what stands above is not looked at), row by row. */
public final class Picture {
    public final int width;
    public final int height;
    public final int[] pixels;

    public Picture(int width, int height, int[] pixels) {
        if (width < 1 || height < 1 || pixels.length < (long) width * height) {
            throw new Refusal("picture has the wrong shape", width + " x " + height, pixels.length + " pixels");
        }
        this.width = width;
        this.height = height;
        this.pixels = pixels;
    }
}
