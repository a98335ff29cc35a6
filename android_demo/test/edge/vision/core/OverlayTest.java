package edge.vision.core;

import static org.junit.Assert.assertEquals;

import java.awt.image.BufferedImage;
import java.util.Arrays;
import java.util.Collections;
import org.junit.Test;

/** From a camera's frame to the screen: under each mark lies what was marked, in every rotation of phone and sensor. */
public final class OverlayTest {
    private static final int[] COLOURS = {0xD02020, 0x20C030, 0x2040D0, 0xE0C020, 0xC030C0};
    private static final int[][] PLACES = {{30, 20}, {88, 28}, {20, 84}, {102, 66}, {64, 52}};
    private static final int WIDTH = 128;
    private static final int HEIGHT = 96;
    private static final int NEAR = 40; // of 255: chroma has half the size, edges are blended

    @Test
    public void marksLieOnTheirPartsInEveryRotationOfPhoneAndSensorAndBothMirrorings() {
        for (int sensor : Gallery.QUARTERS) {
            for (int display : Gallery.QUARTERS) {
                for (boolean front : new boolean[] {false, true}) {
                    check(sensor, display, front);
                }
            }
        }
    }

    private static void check(int sensor, int display, boolean front) {
        String what = "sensor " + sensor + ", display " + display + (front ? ", front" : ", back");
        Picture frame = Gallery.sensed(scene(), sensor, display, front);
        Picture picture = Gallery.throughCamera(frame, Rotation.upright(sensor, display, front));
        assertEquals(what, WIDTH, picture.width);
        boolean lying = display % 180 != 0;
        int width = lying ? 500 : 310;
        int height = lying ? 310 : 500;
        Placement placement = new Placement(picture.width, picture.height, width, height, front);
        BufferedImage view = Gallery.placed(picture, placement, width, height);
        Overlay overlay = new Overlay(found(), placement);
        assertEquals(PLACES.length, overlay.dots.size());
        for (int i = 0; i < PLACES.length; i++) {
            float[] at = overlay.dots.get(i).at;
            int got = view.getRGB((int) at[0], (int) at[1]);
            for (int shift = 0; shift < 24; shift += 8) {
                assertEquals(what + ", mark " + i, COLOURS[i] >> shift & 255, got >> shift & 255, NEAR);
            }
        }
        // As in a mirror: what the camera sees on its left comes to lie on the right.
        assertEquals(what, front, overlay.dots.get(0).at[0] > overlay.dots.get(1).at[0]);
    }

    /** Grey, with a square of a colour of its own at each place. */
    private static Picture scene() {
        int[] pixels = new int[WIDTH * HEIGHT];
        Arrays.fill(pixels, 0x808080);
        for (int i = 0; i < PLACES.length; i++) {
            for (int y = PLACES[i][1] - 5; y < PLACES[i][1] + 5; y++) {
                Arrays.fill(pixels, y * WIDTH + PLACES[i][0] - 5, y * WIDTH + PLACES[i][0] + 5, COLOURS[i]);
            }
        }
        return new Picture(WIDTH, HEIGHT, pixels);
    }

    private static Result found() {
        float[] landmarks = new float[2 * PLACES.length];
        for (int i = 0; i < landmarks.length; i++) {
            landmarks[i] = PLACES[i / 2][i % 2];
        }
        Result.Face face = new Result.Face(new float[] {15, 10, 110, 90}, 0.9f, landmarks);
        return Result.ofFaces(Collections.singletonList(face), false, 0);
    }
}
