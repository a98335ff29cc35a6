package edge.vision.core;

/**
 * Resizing as {@code runtime/resize.py} does it: half-pixel centres, the edge pixel repeated beyond the border, nothing
 * smoothed. Bilinear on pictures repeats OpenCV's fixed-point arithmetic bit by bit; bicubic is Keys' with a = -0.75 in
 * float32; maps are blended in float32 with PyTorch's rounding of positions; the antialiased one is Pillow's.
 */
public final class Resize {
    private static final int ONE = 2048; // a weight of 1 in OpenCV's fixed point
    private static final double CUBIC_A = -0.75;
    private static final int PILLOW_BITS = 22;

    private Resize() {}

    /** Returns the picture at another size as interleaved RGB bytes; {@code interpolation} as on the card. */
    public static byte[] picture(Picture source, int height, int width, String interpolation) {
        byte[] out = new byte[3 * height * width];
        picture(source, height, width, interpolation, out);
        return out;
    }

    static void picture(Picture source, int height, int width, String interpolation, byte[] out) {
        if (source.height == height && source.width == width) {
            copy(source.pixels, height * width, out);
        } else if (interpolation.equals("bicubic")) {
            bicubic(source, height, width, out);
        } else {
            bilinear(source, height, width, out);
        }
    }

    private static void copy(int[] pixels, int count, byte[] out) {
        for (int i = 0, to = 0; i < count; i++, to += 3) {
            int pixel = pixels[i];
            out[to] = (byte) (pixel >> 16);
            out[to + 1] = (byte) (pixel >> 8);
            out[to + 2] = (byte) pixel;
        }
    }

    private static void bilinear(Picture source, int height, int width, byte[] out) {
        int[][] down = fixedTaps(source.height, height);
        int[][] across = fixedTaps(source.width, width);
        // The sums of two input rows are kept: rows of the result mostly share one.
        int[][] rows = new int[2][3 * width];
        int[] held = {-1, -1};
        for (int y = 0, to = 0; y < height; y++) {
            int[] upper = blended(source, down[0][y], down[1][y], across, rows, held);
            int[] lower = blended(source, down[1][y], down[0][y], across, rows, held);
            int a = down[2][y];
            int b = down[3][y];
            for (int i = 0; i < 3 * width; i++, to++) {
                out[to] = (byte) (((upper[i] * a >> 16) + (lower[i] * b >> 16) + 2) >> 2);
            }
        }
    }

    /** Returns the column sums of one input row; {@code other} is the row whose sums must not go for them. */
    private static int[] blended(Picture source, int row, int other, int[][] across, int[][] rows, int[] held) {
        if (held[0] == row || held[1] == row) {
            return rows[held[0] == row ? 0 : 1];
        }
        int slot = held[0] == other ? 1 : 0;
        held[slot] = row;
        int[] sums = rows[slot];
        int[] pixels = source.pixels;
        int line = row * source.width;
        int[] first = across[0];
        int[] second = across[1];
        for (int x = 0, to = 0; x < first.length; x++, to += 3) {
            int left = pixels[line + first[x]];
            int right = pixels[line + second[x]];
            int a = across[2][x];
            int b = across[3][x];
            sums[to] = ((left >> 16 & 255) * a + (right >> 16 & 255) * b) >> 4;
            sums[to + 1] = ((left >> 8 & 255) * a + (right >> 8 & 255) * b) >> 4;
            sums[to + 2] = ((left & 255) * a + (right & 255) * b) >> 4;
        }
        return sums;
    }

    /** Returns first and second input index and their weights: positions rounded to float32, weights to 11 bits. */
    private static int[][] fixedTaps(int sizeIn, int sizeOut) {
        int[][] taps = new int[4][sizeOut];
        double step = 1.0 / ((double) sizeOut / sizeIn);
        for (int i = 0; i < sizeOut; i++) {
            float centre = (float) ((i + 0.5) * step - 0.5);
            float base = (float) Math.floor(centre);
            float part = centre - base;
            taps[0][i] = clamp((int) base, sizeIn);
            taps[1][i] = clamp((int) base + 1, sizeIn);
            taps[2][i] = (int) Math.rint((1 - part) * ONE);
            taps[3][i] = (int) Math.rint(part * ONE);
        }
        return taps;
    }

    private static void bicubic(Picture source, int height, int width, byte[] out) {
        int[][] downAt = new int[4][height];
        float[][] down = cubicTaps(source.height, height, downAt);
        int[][] acrossAt = new int[4][width];
        float[][] across = cubicTaps(source.width, width, acrossAt);
        int[] pixels = source.pixels;
        int wide = source.width;
        float[] line = new float[3 * wide];
        for (int y = 0, to = 0; y < height; y++) {
            int r0 = downAt[0][y] * wide;
            int r1 = downAt[1][y] * wide;
            int r2 = downAt[2][y] * wide;
            int r3 = downAt[3][y] * wide;
            float a = down[0][y];
            float b = down[1][y];
            float c = down[2][y];
            float d = down[3][y];
            for (int x = 0, at = 0; x < wide; x++, at += 3) {
                int p = pixels[r0 + x];
                int q = pixels[r1 + x];
                int r = pixels[r2 + x];
                int s = pixels[r3 + x];
                line[at] = (p >> 16 & 255) * a + (q >> 16 & 255) * b + (r >> 16 & 255) * c + (s >> 16 & 255) * d;
                line[at + 1] = (p >> 8 & 255) * a + (q >> 8 & 255) * b + (r >> 8 & 255) * c + (s >> 8 & 255) * d;
                line[at + 2] = (p & 255) * a + (q & 255) * b + (r & 255) * c + (s & 255) * d;
            }
            for (int x = 0; x < width; x++) {
                int i = 3 * acrossAt[0][x];
                int j = 3 * acrossAt[1][x];
                int k = 3 * acrossAt[2][x];
                int l = 3 * acrossAt[3][x];
                float e = across[0][x];
                float f = across[1][x];
                float g = across[2][x];
                float h = across[3][x];
                for (int channel = 0; channel < 3; channel++, to++) {
                    float sum = line[i + channel] * e + line[j + channel] * f + line[k + channel] * g + line[l + channel] * h;
                    out[to] = (byte) Math.max(0, Math.min(255, (int) Math.rint(sum)));
                }
            }
        }
    }

    /** Returns the four weights of each position, and puts into {@code at} which inputs they belong to. */
    private static float[][] cubicTaps(int sizeIn, int sizeOut, int[][] at) {
        float[][] weights = new float[4][sizeOut];
        for (int i = 0; i < sizeOut; i++) {
            double centre = (i + 0.5) * ((double) sizeIn / sizeOut) - 0.5;
            double base = Math.floor(centre);
            double part = centre - base;
            double[] distances = {1.0 + part, part, 1.0 - part, 2.0 - part};
            for (int tap = 0; tap < 4; tap++) {
                at[tap][i] = clamp((int) base + tap - 1, sizeIn);
                weights[tap][i] = (float) cubic(distances[tap]);
            }
        }
        return weights;
    }

    /** Returns the weight that bicubic interpolation gives to an input at a distance of at least 0 input pixels. */
    static double cubic(double x) {
        if (x <= 1) {
            return ((CUBIC_A + 2) * x - (CUBIC_A + 3)) * x * x + 1;
        }
        return x < 2 ? ((CUBIC_A * x - 5 * CUBIC_A) * x + 8 * CUBIC_A) * x - 4 * CUBIC_A : 0;
    }

    /**
     * Fills {@code out} (height, width) with a map at another size, bilinear in float32: rows are blended first, then
     * columns. The map stands column by column: (columns, rows).
     */
    static void turnedMap(float[] map, int rows, int columns, int height, int width, float[] out) {
        int[][] downAt = new int[2][height];
        float[][] down = linearTaps(rows, height, downAt);
        int[][] acrossAt = new int[2][width];
        float[][] across = linearTaps(columns, width, acrossAt);
        for (int x = 0; x < width; x++) {
            int left = acrossAt[0][x] * rows;
            int right = acrossAt[1][x] * rows;
            float c = across[0][x];
            float d = across[1][x];
            for (int y = 0, to = x; y < height; y++, to += width) {
                int upper = downAt[0][y];
                int lower = downAt[1][y];
                float a = down[0][y];
                float b = down[1][y];
                out[to] = (map[left + upper] * a + map[left + lower] * b) * c
                        + (map[right + upper] * a + map[right + lower] * b) * d;
            }
        }
    }

    private static float[][] linearTaps(int sizeIn, int sizeOut, int[][] at) {
        float[][] weights = new float[2][sizeOut];
        float step = (float) sizeIn / (float) sizeOut;
        for (int i = 0; i < sizeOut; i++) {
            float centre = (i + 0.5f) * step - 0.5f;
            float base = (float) Math.floor(centre);
            float part = centre - base;
            at[0][i] = clamp((int) base, sizeIn);
            at[1][i] = clamp((int) base + 1, sizeIn);
            weights[0][i] = 1.0f - part;
            weights[1][i] = part;
        }
        return weights;
    }

    /** Returns a map of bytes at another size by Pillow's triangle filter, which widens where the map shrinks. */
    static byte[] antialiased(byte[] map, int rows, int columns, int height, int width) {
        byte[] wide = columns == width ? map : pillowLines(map, rows, columns, width, columns, 1, width, 1);
        return rows == height ? wide : pillowLines(wide, width, rows, height, 1, width, 1, width);
    }

    /**
     * Filters {@code lines} lines of {@code sizeIn} values; the steps are from one line to the next and from one value to
     * the next, of input and output.
     */
    private static byte[] pillowLines(
            byte[] map, int lines, int sizeIn, int sizeOut, int lineIn, int stepIn, int lineOut, int stepOut) {
        byte[] out = new byte[lines * sizeOut];
        double scale = (double) sizeIn / sizeOut;
        double support = Math.max(scale, 1.0);
        for (int i = 0; i < sizeOut; i++) {
            double centre = (i + 0.5) * scale;
            int first = Math.max((int) (centre - support + 0.5), 0);
            int count = Math.min((int) (centre + support + 0.5), sizeIn) - first;
            double[] weights = new double[count];
            double total = 0;
            for (int tap = 0; tap < count; tap++) {
                weights[tap] = Math.max(0, 1 - Math.abs((tap + first - centre + 0.5) * (1.0 / support)));
                total += weights[tap];
            }
            int[] fixed = new int[count];
            for (int tap = 0; tap < count; tap++) {
                fixed[tap] = (int) (0.5 + (total == 0 ? weights[tap] : weights[tap] / total) * (1 << PILLOW_BITS));
            }
            for (int line = 0; line < lines; line++) {
                int sum = 1 << (PILLOW_BITS - 1);
                for (int tap = 0; tap < count; tap++) {
                    sum += (map[line * lineIn + (first + tap) * stepIn] & 255) * fixed[tap];
                }
                out[line * lineOut + i * stepOut] = (byte) Math.max(0, Math.min(255, sum >> PILLOW_BITS));
            }
        }
        return out;
    }

    private static int clamp(int index, int size) {
        return Math.max(0, Math.min(size - 1, index));
    }
}
