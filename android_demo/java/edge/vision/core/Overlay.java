package edge.vision.core;

import java.util.ArrayList;
import java.util.List;

/** What is drawn over a picture: lines, dots, boxes and labels in pixels of the view. */
public final class Overlay {
    /** A line or a box: x, y, x, y; boxes are left, top, right, bottom. The colour is a number of the palette. */
    public static final class Mark {
        public final float[] at;
        public final int colour;

        Mark(float[] at, int colour) {
            this.at = at;
            this.colour = colour;
        }
    }

    /** A text with its lower left corner. */
    public static final class Label {
        public final float x;
        public final float y;
        public final String text;

        Label(float x, float y, String text) {
            this.x = x;
            this.y = y;
            this.text = text;
        }
    }

    public final List<Mark> lines = new ArrayList<>();
    /** x, y of each, twice: a line without length. */
    public final List<Mark> dots = new ArrayList<>();
    public final List<Mark> boxes = new ArrayList<>();
    public final List<Label> labels = new ArrayList<>();

    /** Lays out a result over a picture that is placed so. */
    public Overlay(Result result, Placement placement) {
        for (int i = 0; i < result.people.size(); i++) {
            person(result.people.get(i), i, placement);
        }
        for (int i = 0; i < result.faces.size(); i++) {
            face(result.faces.get(i), i, placement);
        }
    }

    /** Returns what a result says in words, for the screen and for screen readers. */
    public static String words(Result result) {
        switch (result.kind) {
            case "people":
                return counted(result.people.size(), "person", "people") + (result.truncated ? ", some left out" : "");
            case "faces":
                return counted(result.faces.size(), "face", "faces") + (result.truncated ? ", some left out" : "");
            case "emotion":
                if (result.emotion == null) {
                    return "no finite numbers";
                }
                return String.format(
                        java.util.Locale.ROOT, "%s: valence %+.2f, arousal %+.2f",
                        result.emotion.quadrant(), result.emotion.valence, result.emotion.arousal);
            default:
                return "raw outputs";
        }
    }

    private static String counted(int count, String one, String many) {
        return count + " " + (count == 1 ? one : many);
    }

    private void person(Result.Person person, int colour, Placement placement) {
        // The two limbs from shoulder to ear only complete people: they are not drawn.
        for (int limb = 0; limb < Skeleton.FILL_FROM; limb++) {
            Result.Keypoint start = person.keypoints[Skeleton.start(limb)];
            Result.Keypoint end = person.keypoints[Skeleton.end(limb)];
            if (start != null && end != null) {
                lines.add(new Mark(
                        new float[] {
                            placement.x(start.x), placement.y(start.y), placement.x(end.x), placement.y(end.y)
                        },
                        colour));
            }
        }
        for (Result.Keypoint point : person.keypoints) {
            if (point != null) {
                dot(placement.x(point.x), placement.y(point.y), colour);
            }
        }
    }

    private void face(Result.Face face, int colour, Placement placement) {
        float oneSide = placement.x(face.box[0]);
        float otherSide = placement.x(face.box[2]);
        float left = Math.min(oneSide, otherSide); // mirrored, the left side comes to lie on the right
        float top = placement.y(face.box[1]);
        boxes.add(new Mark(
                new float[] {left, top, Math.max(oneSide, otherSide), placement.y(face.box[3])}, colour));
        for (int i = 0; i < face.landmarks.length; i += 2) {
            dot(placement.x(face.landmarks[i]), placement.y(face.landmarks[i + 1]), colour);
        }
        labels.add(new Label(left, top, String.format(java.util.Locale.ROOT, "%.2f", face.score)));
    }

    private void dot(float x, float y, int colour) {
        dots.add(new Mark(new float[] {x, y, x, y}, colour));
    }
}
