package edge.vision.core;

/** By how many degrees clockwise a camera's frame must be turned to stand upright on the screen. */
public final class Rotation {
    private Rotation() {}

    /**
     * Returns 0, 90, 180 or 270.
     *
     * @param sensorDegrees clockwise turn of the sensor's picture in the device's natural orientation, as the camera says
     * @param displayDegrees counter-clockwise turn of the device from its natural orientation, as the display says
     * @param front whether the camera looks at the user: then the device's turn counts the other way round
     */
    public static int upright(int sensorDegrees, int displayDegrees, boolean front) {
        int degrees = front ? sensorDegrees + displayDegrees : sensorDegrees - displayDegrees;
        int whole = ((degrees % 360) + 360) % 360;
        if (whole % 90 != 0) {
            throw new Refusal("a frame turns by quarters", "a multiple of 90", degrees);
        }
        return whole;
    }

    /**
     * Returns the turn that EXIF's orientation tag asks for, clockwise after mirroring; 0 for a value that is not known.
     */
    public static int ofExif(int orientation) {
        switch (orientation) {
            case 3:
            case 4:
                return 180;
            case 5:
            case 8:
                return 270;
            case 6:
            case 7:
                return 90;
            default:
                return 0;
        }
    }

    /** Returns whether EXIF's orientation tag asks for mirroring left to right before the turn. */
    public static boolean mirroredByExif(int orientation) {
        return orientation == 2 || orientation == 4 || orientation == 5 || orientation == 7;
    }

    /** Returns the picture mirrored left to right if asked, then turned clockwise. */
    public static Picture turned(Picture picture, int degrees, boolean mirrored) {
        int width = degrees % 180 == 0 ? picture.width : picture.height;
        int height = degrees % 180 == 0 ? picture.height : picture.width;
        int[] out = new int[width * height];
        for (int y = 0; y < picture.height; y++) {
            for (int x = 0; x < picture.width; x++) {
                int column = mirrored ? picture.width - 1 - x : x;
                out[place(column, y, picture.width, picture.height, degrees)] = picture.pixels[y * picture.width + x];
            }
        }
        return new Picture(width, height, out);
    }

    /** Returns where a pixel of a picture of that size lies in the rows of the turned one. */
    static int place(int x, int y, int width, int height, int degrees) {
        switch (degrees) {
            case 90:
                return x * height + height - 1 - y;
            case 180:
                return (height - 1 - y) * width + width - 1 - x;
            case 270:
                return (width - 1 - x) * height + y;
            default:
                return y * width + x;
        }
    }
}
