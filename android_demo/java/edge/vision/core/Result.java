package edge.vision.core;

import java.util.Collections;
import java.util.List;

/**
 * What one decoder made of one set of outputs. Coordinates are continuous pixels of the picture: the pixel in column i
 * and row j has its centre at (i + 0.5, j + 0.5).
 */
public final class Result {
    /** "people", "faces", "emotion" or "raw": which of the fields below counts. */
    public final String kind;
    /** By descending score. */
    public final List<Person> people;
    /** By descending score. */
    public final List<Face> faces;
    /** Null also where the network's numbers were not finite. */
    public final Emotion emotion;
    /** A cap was hit, so that something may be missing. */
    public final boolean truncated;
    /** NaN and infinite values among the outputs; they took no part. */
    public final int nonfinite;

    private Result(String kind, List<Person> people, List<Face> faces, Emotion emotion, boolean truncated, int nonfinite) {
        this.kind = kind;
        this.people = Collections.unmodifiableList(people);
        this.faces = Collections.unmodifiableList(faces);
        this.emotion = emotion;
        this.truncated = truncated;
        this.nonfinite = nonfinite;
    }

    static Result ofPeople(List<Person> people, boolean truncated, int nonfinite) {
        return new Result("people", people, Collections.<Face>emptyList(), null, truncated, nonfinite);
    }

    static Result ofFaces(List<Face> faces, boolean truncated, int nonfinite) {
        return new Result("faces", Collections.<Person>emptyList(), faces, null, truncated, nonfinite);
    }

    static Result ofEmotion(Emotion emotion, int nonfinite) {
        return new Result(
                "emotion", Collections.<Person>emptyList(), Collections.<Face>emptyList(), emotion, false, nonfinite);
    }

    static Result raw(int nonfinite) {
        return new Result("raw", Collections.<Person>emptyList(), Collections.<Face>emptyList(), null, false, nonfinite);
    }

    /** A body joint: position, and the height of its peak (about 0..1). */
    public static final class Keypoint {
        public final double x;
        public final double y;
        public final double score;

        Keypoint(double x, double y, double score) {
            this.x = x;
            this.y = y;
            this.score = score;
        }
    }

    /** A person: 18 joints in the order of {@link Skeleton#KEYPOINTS}, null where one was not found. */
    public static final class Person {
        public final Keypoint[] keypoints;
        /** Sum of peak heights and affinities, times the joints counted less one: grows to about 600. */
        public final double score;

        Person(Keypoint[] keypoints, double score) {
            this.keypoints = keypoints;
            this.score = score;
        }

        /** Mean peak height of the joints that were found, about 0..1. */
        public double confidence() {
            double sum = 0;
            int count = 0;
            for (Keypoint point : keypoints) {
                if (point != null) {
                    sum += point.score;
                    count++;
                }
            }
            return count == 0 ? 0 : sum / count;
        }
    }

    /** A face: left, top, right, bottom (not clipped), probability, and five landmarks as x, y. */
    public static final class Face {
        public final float[] box;
        public final float score;
        /** Eye, eye, nose, mouth corner, mouth corner, each pair from image left to right. */
        public final float[] landmarks;

        Face(float[] box, float score, float[] landmarks) {
            this.box = box;
            this.score = score;
            this.landmarks = landmarks;
        }
    }

    /** What a piece of music sounds like: valence and arousal, -1..1. */
    public static final class Emotion {
        public final double valence;
        public final double arousal;

        /** Both are clipped to -1..1. */
        public Emotion(double valence, double arousal) {
            this.valence = Math.max(-1, Math.min(1, valence));
            this.arousal = Math.max(-1, Math.min(1, arousal));
        }

        /** "excited" (+, +), "tense" (-, +), "sad" (-, -) or "calm" (+, -), signs of valence, arousal; 0 is +. */
        public String quadrant() {
            if (arousal >= 0) {
                return valence >= 0 ? "excited" : "tense";
            }
            return valence >= 0 ? "calm" : "sad";
        }

        /** A value of -1..1 on the 1..9 scale of listeners' annotations. */
        public static double on1to9(double value) {
            return 4 * value + 5;
        }
    }
}
