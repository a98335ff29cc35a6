package edge.vision.core;

/**
 * From a picture to the tensor that a card's input contract asks for, as {@code runtime/preprocess.py} does it.
 *
 * <p>Keeps its buffers from picture to picture: one instance serves one thread, and the tensor is valid until the next
 * call.
 */
public final class Preprocessor {
    private static final double LARGEST_VALUE = 1e37;
    private static final double TINY_STD = 1e-37;

    private final Card.Input spec;
    private final float[][] tables; // every pixel value of a channel becomes one of 256 numbers
    private final float[] padding;
    private final float[] tensor;
    private byte[] small = new byte[0];
    private int paddedHeight = -1;
    private int paddedWidth = -1;

    public Preprocessor(Card.Input spec) {
        if (!spec.kind.equals("image")) {
            throw new Refusal("this input takes no picture", "kind `image`", "kind `" + spec.kind + "`");
        }
        int channels = spec.channels();
        double[] fill = spec.resize.fill;
        if (spec.shape[0] != 1) {
            throw new Refusal("an image input takes one picture at a time");
        }
        if (!spec.colour.equals("GRAY") && channels != 3) {
            throw new Refusal("an input of colour " + spec.colour + " needs 3 channels", 3, channels);
        }
        checkFill(fill, channels);
        refuseOverflow(spec, 255);
        for (double value : fill) {
            refuseOverflow(spec, value);
        }
        this.spec = spec;
        tables = new float[channels][256];
        padding = new float[channels];
        for (int c = 0; c < channels; c++) {
            float mean = (float) spec.mean[c];
            float std = (float) spec.std[c];
            for (int value = 0; value < 256; value++) {
                tables[c][value] = (value - mean) / std;
            }
            padding[c] = ((float) fill[c % fill.length] - mean) / std;
        }
        tensor = new float[spec.size()];
    }

    /** Returns the tensor of {@link #prepare}'s last picture: the shape of the card, overwritten by the next one. */
    public float[] tensor() {
        return tensor;
    }

    /** Fills {@link #tensor} with a picture, and returns where its pixels went. */
    public Geometry prepare(Picture source) {
        int[] content = fit(source.height, source.width, spec.height(), spec.width(), spec.resize);
        int height = content[0];
        int width = content[1];
        if (small.length < 3 * height * width) {
            small = new byte[3 * height * width];
        }
        Resize.picture(source, height, width, spec.resize.interpolation, small);
        if (height != paddedHeight || width != paddedWidth) {
            pad(height, width);
        }
        if (spec.colour.equals("GRAY")) {
            writeGrey(height, width);
        } else if (spec.channelsFirst()) {
            writePlanes(height, width);
        } else {
            writePixels(height, width);
        }
        return new Geometry(source.height, source.width, height, width);
    }

    /** Returns height and width that a picture takes up in the input; computed exactly, each at least 1. */
    public static int[] fit(int height, int width, int inHeight, int inWidth, Card.Resizing rule) {
        if (rule.rule.equals("none")) {
            if (height != inHeight || width != inWidth) {
                throw new Refusal(
                        "this input takes pictures of one size only", inWidth + " x " + inHeight, width + " x " + height);
            }
            return new int[] {inHeight, inWidth};
        }
        if (rule.rule.equals("stretch")) {
            if (rule.upscale) {
                return new int[] {inHeight, inWidth};
            }
            return new int[] {Math.min(height, inHeight), Math.min(width, inWidth)};
        }
        boolean byHeight = (long) inHeight * width <= (long) inWidth * height;
        long above = byHeight ? inHeight : inWidth;
        long below = byHeight ? height : width;
        if (!rule.upscale && above > below) {
            above = 1;
            below = 1;
        }
        boolean truncate = rule.rounding.equals("truncate");
        return new int[] {side(height, above, below, truncate), side(width, above, below, truncate)};
    }

    static void refuseOverflow(Card.Input spec, double value) {
        for (int c = 0; c < spec.mean.length; c++) {
            if (spec.std[c] < TINY_STD
                    || Math.max(Math.abs(spec.mean[c]), Math.abs(value)) / spec.std[c] > LARGEST_VALUE) {
                throw new Refusal("mean, std and fill of the input give values beyond float32");
            }
        }
    }

    private static void checkFill(double[] fill, int channels) {
        boolean same = fill.length > 0;
        for (double value : fill) {
            same &= value == fill[0];
        }
        if (fill.length != channels && !same) {
            throw new Refusal("resize.fill needs one value a channel, or equal ones", channels, fill.length);
        }
    }

    /** A quotient of whole numbers: down, or to the nearest with halves to even. */
    private static int side(long side, long above, long below, boolean truncate) {
        long low = side * above / below;
        long rest = 2 * (side * above - low * below);
        if (!truncate && (rest > below || rest == below && low % 2 == 1)) {
            low++;
        }
        return (int) Math.max(1, low);
    }

    private void pad(int height, int width) {
        int plane = spec.height() * spec.width();
        int channels = spec.channels();
        for (int c = 0; c < channels; c++) {
            for (int i = 0; i < plane; i++) {
                tensor[spec.channelsFirst() ? c * plane + i : i * channels + c] = padding[c];
            }
        }
        paddedHeight = height;
        paddedWidth = width;
    }

    private void writePixels(int height, int width) {
        boolean bgr = spec.colour.equals("BGR");
        float[] first = tables[0];
        float[] second = tables[1];
        float[] third = tables[2];
        int red = bgr ? 2 : 0;
        for (int y = 0, from = 0; y < height; y++) {
            for (int x = 0, to = 3 * y * spec.width(); x < width; x++, from += 3, to += 3) {
                tensor[to] = first[small[from + red] & 255];
                tensor[to + 1] = second[small[from + 1] & 255];
                tensor[to + 2] = third[small[from + 2 - red] & 255];
            }
        }
    }

    private void writePlanes(int height, int width) {
        boolean bgr = spec.colour.equals("BGR");
        for (int c = 0; c < 3; c++) {
            float[] table = tables[c];
            for (int y = 0, from = bgr ? 2 - c : c; y < height; y++) {
                int to = (c * spec.height() + y) * spec.width();
                for (int x = 0; x < width; x++, from += 3, to++) {
                    tensor[to] = table[small[from] & 255];
                }
            }
        }
    }

    private void writeGrey(int height, int width) {
        int channels = spec.channels();
        int plane = spec.height() * spec.width();
        for (int y = 0, from = 0; y < height; y++) {
            for (int x = 0; x < width; x++, from += 3) {
                int at = y * spec.width() + x;
                int grey = luma(small[from] & 255, small[from + 1] & 255, small[from + 2] & 255);
                for (int c = 0; c < channels; c++) {
                    tensor[spec.channelsFirst() ? c * plane + at : at * channels + c] = tables[c][grey];
                }
            }
        }
    }

    /** ITU-R BT.601-7, section 2.5.1. */
    private static int luma(int red, int green, int blue) {
        return (int) Math.rint(red * 0.299f + green * 0.587f + blue * 0.114f);
    }
}
