package edge.vision.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;

import java.nio.ByteBuffer;
import org.junit.Test;

/** Frames, pictures and overlays in every rotation and mirroring, by hand. */
public final class GeometryTest {
    /** A 3 x 2 picture whose pixels count from 0. */
    private static final Picture COUNTED = new Picture(3, 2, new int[] {0, 1, 2, 3, 4, 5});

    @Test
    public void aPhoneInPortraitTurnsItsBackCameraByTheSensorsAngle() {
        assertEquals(90, Rotation.upright(90, 0, false));
        assertEquals(0, Rotation.upright(90, 90, false)); // turned left into landscape
        assertEquals(180, Rotation.upright(90, 270, false));
        assertEquals(270, Rotation.upright(90, 180, false));
    }

    @Test
    public void theFrontCameraCountsTheDevicesTurnTheOtherWay() {
        assertEquals(270, Rotation.upright(270, 0, true));
        assertEquals(0, Rotation.upright(270, 90, true));
        assertEquals(180, Rotation.upright(270, 270, true));
    }

    @Test
    public void anAngleThatIsNoQuarterIsRefused() {
        assertThrows(Refusal.class, () -> Rotation.upright(45, 0, false));
    }

    @Test
    public void picturesTurnClockwise() {
        assertArrayEquals(new int[] {3, 0, 4, 1, 5, 2}, Rotation.turned(COUNTED, 90, false).pixels);
        assertArrayEquals(new int[] {5, 4, 3, 2, 1, 0}, Rotation.turned(COUNTED, 180, false).pixels);
        assertArrayEquals(new int[] {2, 5, 1, 4, 0, 3}, Rotation.turned(COUNTED, 270, false).pixels);
        assertEquals(2, Rotation.turned(COUNTED, 90, false).width);
    }

    @Test
    public void everyExifOrientationStandsUpright() {
        // Pixels of the picture as seen, 3 x 2, stored as each orientation stores it (EXIF 2.3, figure in 4.6.4).
        int[][] stored = {
            {0, 1, 2, 3, 4, 5}, {2, 1, 0, 5, 4, 3}, {5, 4, 3, 2, 1, 0}, {3, 4, 5, 0, 1, 2},
            {0, 3, 1, 4, 2, 5}, {2, 5, 1, 4, 0, 3}, {5, 2, 4, 1, 3, 0}, {3, 0, 4, 1, 5, 2},
        };
        for (int orientation = 1; orientation <= 8; orientation++) {
            int width = orientation < 5 ? 3 : 2;
            Picture picture = new Picture(width, 6 / width, stored[orientation - 1]);
            Picture seen = Rotation.turned(
                    picture, Rotation.ofExif(orientation), Rotation.mirroredByExif(orientation));
            assertArrayEquals("orientation " + orientation, COUNTED.pixels, seen.pixels);
        }
    }

    @Test
    public void aFrameInEveryRotationIsTheTurnedPicture() {
        int width = 4;
        int height = 2;
        byte[] luma = {10, 20, 30, 40, 50, 60, 70, 80};
        byte[] chroma = {(byte) 128, 0, (byte) 128, 0}; // pixel stride 2
        ByteBuffer[] buffers = {ByteBuffer.wrap(luma), ByteBuffer.wrap(chroma), ByteBuffer.wrap(chroma)};
        int[] rows = {4, 4, 4};
        int[] steps = {1, 2, 2};
        Picture plain = copy(new YuvFrame().upright(buffers, rows, steps, width, height, 0));
        assertEquals(0xFF0A0A0A, plain.pixels[0]);
        assertEquals(0xFF505050, plain.pixels[7]);
        for (int degrees = 90; degrees < 360; degrees += 90) {
            Picture turned = new YuvFrame().upright(buffers, rows, steps, width, height, degrees);
            Picture wanted = Rotation.turned(plain, degrees, false);
            assertEquals(wanted.width, turned.width);
            assertArrayEquals(wanted.pixels, turned.pixels);
        }
    }

    @Test
    public void coloursFollowJfif() {
        ByteBuffer[] red = {
            ByteBuffer.wrap(new byte[] {76, 76, 76, 76}), ByteBuffer.wrap(new byte[] {85}),
            ByteBuffer.wrap(new byte[] {(byte) 255})
        };
        Picture picture = new YuvFrame().upright(red, new int[] {2, 1, 1}, new int[] {1, 1, 1}, 2, 2, 0);
        assertEquals(0xFFFE0000, picture.pixels[0]); // 76 + 1.402 * 127 = 254.05, and nothing else
    }

    @Test
    public void overlaysFollowThePictureInBothMirrorings() {
        float[] box = {10, 20, 30, 60};
        Result faces = Result.ofFaces(
                java.util.Collections.singletonList(
                        new Result.Face(box, 0.9f, new float[] {12, 22, 28, 22, 20, 40, 14, 50, 26, 50})),
                false, 0);
        Overlay straight = new Overlay(faces, new Placement(100, 100, 400, 200, false));
        assertArrayEquals(new float[] {120, 40, 160, 120}, straight.boxes.get(0).at, 1e-4f);
        Overlay mirrored = new Overlay(faces, new Placement(100, 100, 400, 200, true));
        assertArrayEquals(new float[] {240, 40, 280, 120}, mirrored.boxes.get(0).at, 1e-4f);
        assertEquals(276, mirrored.dots.get(0).at[0], 1e-4f); // the left eye, now on the right
    }

    @Test
    public void thePicturesMatrixIsTheOverlaysMap() {
        for (boolean mirrored : new boolean[] {false, true}) {
            Placement placement = new Placement(640, 480, 1080, 1920, mirrored);
            float[] matrix = placement.matrix();
            assertEquals(placement.x(100), matrix[0] * 100 + matrix[2], 1e-3f);
            assertEquals(placement.y(50), matrix[4] * 50 + matrix[5], 1e-3f);
        }
    }

    private static Picture copy(Picture picture) {
        return new Picture(picture.width, picture.height, picture.pixels.clone());
    }
}
