package edge.vision.core;

import java.awt.BasicStroke;
import java.awt.Color;
import java.awt.Graphics2D;
import java.awt.RenderingHints;
import java.awt.geom.AffineTransform;
import java.awt.geom.Ellipse2D;
import java.awt.geom.Line2D;
import java.awt.geom.Rectangle2D;
import java.awt.image.BufferedImage;
import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;
import javax.imageio.ImageIO;

/**
 * What the app's screen shows in every rotation of the phone, by the app's own code: a camera's frame, turned upright,
 * and marks over it. A {@link BufferedImage} stands for Android's canvas, and a turned scene for the camera.
 */
public final class Gallery {
    static final int[] QUARTERS = {0, 90, 180, 270};
    private static final int BACK_SENSOR = 90; // as most phones have them built in
    private static final int FRONT_SENSOR = 270;
    private static final int LONG = 240; // sides of a stage, pixels
    private static final int SHORT = 190;
    private static final int FRAME = 84; // longer side of a small picture of the frame
    private static final int GAP = 14;
    private static final int HEAD = 22; // room for words above each
    private static final int CELL_WIDTH = FRAME + LONG + 3 * GAP;
    private static final int CELL_HEIGHT = LONG + 2 * GAP + HEAD;
    private static final Color BODY = new Color(40, 40, 48);
    private static final Color[] PALETTE = { // as StageView's
        new Color(0, 200, 255), new Color(255, 170, 0), new Color(120, 255, 90), new Color(255, 90, 160),
        new Color(255, 240, 60), new Color(170, 130, 255),
    };

    private Gallery() {}

    /** Draws a row for each scene and camera into the picture that is named second; the first names the vectors. */
    public static void main(String[] arguments) throws IOException {
        List<Golden.Case> scenes = new ArrayList<>();
        Path folder = Paths.get(arguments[0]);
        for (Golden.Case item : Golden.read(folder)) {
            scenes.add(item);
        }
        BufferedImage out = new BufferedImage(
                QUARTERS.length * CELL_WIDTH, 2 * scenes.size() * CELL_HEIGHT, BufferedImage.TYPE_INT_RGB);
        Graphics2D canvas = smooth(out);
        canvas.setColor(Color.WHITE);
        canvas.fillRect(0, 0, out.getWidth(), out.getHeight());
        int row = 0;
        for (Golden.Case item : scenes) {
            BufferedImage file = ImageIO.read(folder.resolve(item.name.replace(": ", "-") + ".png").toFile());
            int[] pixels = file.getRGB(0, 0, file.getWidth(), file.getHeight(), null, 0, file.getWidth());
            Picture scene = new Picture(file.getWidth(), file.getHeight(), pixels);
            for (boolean front : new boolean[] {false, true}) {
                for (int i = 0; i < QUARTERS.length; i++) {
                    AffineTransform home = canvas.getTransform();
                    canvas.translate(i * CELL_WIDTH, row * CELL_HEIGHT);
                    cell(canvas, scene, item.decoded(), QUARTERS[i], front);
                    canvas.setTransform(home);
                }
                row++;
            }
        }
        ImageIO.write(out, "png", new File(arguments[1]));
    }

    /**
     * Returns what a sensor gives of an upright scene.
     *
     * <p>Built in so that its picture must be turned clockwise by {@code sensor} degrees in the phone's natural position.
     * Turning the phone counter-clockwise, as its user sees it, turns the scene clockwise in the eyes of a camera that
     * looks the same way, and counter-clockwise in those of one that looks back.
     */
    static Picture sensed(Picture scene, int sensor, int display, boolean front) {
        int turn = (front ? -display : display) - sensor;
        return Rotation.turned(scene, (turn % 360 + 360) % 360, false);
    }

    /** Returns a frame as cameras hand it over, chroma interleaved and rows padded, after the app made it upright. */
    static Picture throughCamera(Picture frame, int degrees) {
        int luma = frame.width + 16;
        int chroma = (frame.width + 1) / 2 * 2 + 16;
        byte[] y = new byte[luma * frame.height];
        byte[] blue = new byte[chroma * ((frame.height + 1) / 2)];
        byte[] red = new byte[blue.length];
        for (int row = 0; row < frame.height; row++) {
            for (int column = 0; column < frame.width; column++) {
                int pixel = frame.pixels[row * frame.width + column];
                double r = pixel >> 16 & 255;
                double g = pixel >> 8 & 255;
                double b = pixel & 255;
                y[row * luma + column] = level(0.299 * r + 0.587 * g + 0.114 * b);
                if (row % 2 == 0 && column % 2 == 0) { // ITU-T T.871, section 7
                    blue[row / 2 * chroma + column] = level(128 - 0.168736 * r - 0.331264 * g + 0.5 * b);
                    red[row / 2 * chroma + column] = level(128 + 0.5 * r - 0.418688 * g - 0.081312 * b);
                }
            }
        }
        ByteBuffer[] planes = {ByteBuffer.wrap(y), ByteBuffer.wrap(blue), ByteBuffer.wrap(red)};
        return new YuvFrame().upright(
                planes, new int[] {luma, chroma, chroma}, new int[] {1, 2, 2}, frame.width, frame.height, degrees);
    }

    private static byte level(double value) {
        return (byte) Math.max(0, Math.min(255, Math.round(value)));
    }

    /** Draws a picture as StageView does; marks come apart, so that a test can look at what lies under them. */
    static BufferedImage placed(Picture picture, Placement placement, int width, int height) {
        BufferedImage image = new BufferedImage(picture.width, picture.height, BufferedImage.TYPE_INT_RGB);
        image.setRGB(0, 0, picture.width, picture.height, picture.pixels, 0, picture.width);
        BufferedImage view = new BufferedImage(width, height, BufferedImage.TYPE_INT_RGB);
        float[] m = placement.matrix();
        smooth(view).drawImage(image, new AffineTransform(m[0], m[3], m[1], m[4], m[2], m[5]), null);
        return view;
    }

    private static void marks(BufferedImage view, Overlay overlay) {
        Graphics2D canvas = smooth(view);
        canvas.setStroke(new BasicStroke(2));
        for (Overlay.Mark mark : overlay.lines) {
            canvas.setColor(PALETTE[mark.colour % PALETTE.length]);
            canvas.draw(new Line2D.Float(mark.at[0], mark.at[1], mark.at[2], mark.at[3]));
        }
        for (Overlay.Mark mark : overlay.boxes) {
            canvas.setColor(PALETTE[mark.colour % PALETTE.length]);
            canvas.draw(new Rectangle2D.Float(
                    mark.at[0], mark.at[1], mark.at[2] - mark.at[0], mark.at[3] - mark.at[1]));
        }
        canvas.setColor(Color.WHITE);
        for (Overlay.Mark mark : overlay.dots) {
            canvas.fill(new Ellipse2D.Float(mark.at[0] - 1.5f, mark.at[1] - 1.5f, 3, 3));
        }
    }

    /** The frame as it comes from the sensor; and the phone as its user holds it, its upper end marked. */
    private static void cell(Graphics2D canvas, Picture scene, Result result, int display, boolean front) {
        int sensor = front ? FRONT_SENSOR : BACK_SENSOR;
        Picture frame = sensed(scene, sensor, display, front);
        double scale = (double) FRAME / Math.max(frame.width, frame.height);
        BufferedImage small = placed(
                frame, new Placement(frame.width, frame.height, (int) (frame.width * scale), (int) (frame.height * scale), false),
                (int) (frame.width * scale), (int) (frame.height * scale));
        canvas.drawImage(small, GAP, HEAD + GAP, null);
        boolean lying = display % 180 != 0;
        int width = lying ? LONG : SHORT;
        int height = lying ? SHORT : LONG;
        Picture picture = throughCamera(frame, Rotation.upright(sensor, display, front));
        Placement placement = new Placement(picture.width, picture.height, width, height, front);
        BufferedImage view = placed(picture, placement, width, height);
        marks(view, new Overlay(result, placement));
        int left = FRAME + 2 * GAP;
        int top = HEAD + GAP;
        canvas.setColor(BODY);
        canvas.fillRoundRect(left - 7, top - 7, width + 14, height + 14, 14, 14);
        canvas.drawImage(view, left, top, null);
        canvas.setColor(Color.WHITE);
        // Turned counter-clockwise by a quarter, the upper end points to the left.
        int[] x = {left + width / 2, left - 4, left + width / 2, left + width + 3};
        int[] y = {top - 4, top + height / 2, top + height + 3, top + height / 2};
        canvas.fill(new Ellipse2D.Float(x[display / 90] - 3, y[display / 90] - 3, 6, 6));
    }

    private static Graphics2D smooth(BufferedImage image) {
        Graphics2D canvas = image.createGraphics();
        canvas.setRenderingHint(RenderingHints.KEY_ANTIALIASING, RenderingHints.VALUE_ANTIALIAS_ON);
        canvas.setRenderingHint(RenderingHints.KEY_INTERPOLATION, RenderingHints.VALUE_INTERPOLATION_BILINEAR);
        canvas.setRenderingHint(RenderingHints.KEY_STROKE_CONTROL, RenderingHints.VALUE_STROKE_PURE);
        return canvas;
    }
}
