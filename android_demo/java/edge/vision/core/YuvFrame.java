package edge.vision.core;

import java.nio.ByteBuffer;

/**
 * A camera's frame (three planes, chroma at half size) to an upright picture, in one pass. ITU-R BT.601 with full range,
 * as Android's cameras and JFIF have it (ITU-T T.871, section 7).
 */
public final class YuvFrame {
    private final byte[][] planes = new byte[3][0];
    private int[] pixels = new int[0];

    /**
     * Returns the picture, turned clockwise by so many degrees; it is overwritten by the next call.
     *
     * @param buffers Y, U and V; read from their position on
     * @param rowStrides bytes from row to row, of each
     * @param pixelStrides bytes from value to value, of each
     */
    public Picture upright(
            ByteBuffer[] buffers, int[] rowStrides, int[] pixelStrides, int width, int height, int degrees) {
        for (int i = 0; i < 3; i++) {
            int count = buffers[i].remaining();
            if (planes[i].length < count) {
                planes[i] = new byte[count];
            }
            buffers[i].duplicate().get(planes[i], 0, count);
        }
        if (pixels.length != width * height) {
            pixels = new int[width * height];
        }
        int step = Rotation.place(1, 0, width, height, degrees) - Rotation.place(0, 0, width, height, degrees);
        for (int y = 0; y < height; y++) {
            int to = Rotation.place(0, y, width, height, degrees);
            int luma = y * rowStrides[0];
            int blue = (y / 2) * rowStrides[1];
            int red = (y / 2) * rowStrides[2];
            for (int x = 0; x < width; x++, to += step) {
                int u = (planes[1][blue + (x / 2) * pixelStrides[1]] & 255) - 128;
                int v = (planes[2][red + (x / 2) * pixelStrides[2]] & 255) - 128;
                pixels[to] = rgb(planes[0][luma + x * pixelStrides[0]] & 255, u, v);
            }
        }
        boolean lying = degrees % 180 != 0;
        return new Picture(lying ? height : width, lying ? width : height, pixels);
    }

    /** Coefficients times 2**16, rounded. */
    private static int rgb(int y, int u, int v) {
        int base = (y << 16) + (1 << 15);
        int red = base + 91881 * v >> 16;
        int green = base - 22554 * u - 46802 * v >> 16;
        int blue = base + 116130 * u >> 16;
        return 0xFF << 24 | clipped(red) << 16 | clipped(green) << 8 | clipped(blue);
    }

    private static int clipped(int value) {
        return value < 0 ? 0 : Math.min(value, 255);
    }
}
