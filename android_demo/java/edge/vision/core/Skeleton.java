package edge.vision.core;

import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/** The body model of OpenPose with 18 joints; {@code runtime/skeleton.py} has its sources. */
public final class Skeleton {
    /** "right" and "left" are the person's own. */
    public static final List<String> KEYPOINTS = Collections.unmodifiableList(Arrays.asList(
            "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
            "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
            "right_ear", "left_ear"));
    public static final int JOINTS = 18;
    public static final int LIMBS = 19;
    /** The first of the limbs that complete a person, but neither start one nor add to a score. */
    static final int FILL_FROM = 17;

    private static final int[][] TABLE = {
        {1, 2, 12, 13}, {1, 5, 20, 21}, {2, 3, 14, 15}, {3, 4, 16, 17}, {5, 6, 22, 23}, {6, 7, 24, 25}, {1, 8, 0, 1},
        {8, 9, 2, 3}, {9, 10, 4, 5}, {1, 11, 6, 7}, {11, 12, 8, 9}, {12, 13, 10, 11}, {1, 0, 28, 29}, {0, 14, 30, 31},
        {14, 16, 34, 35}, {0, 15, 32, 33}, {15, 17, 36, 37}, {2, 16, 18, 19}, {5, 17, 26, 27},
    };

    private Skeleton() {}

    /** The joint where a limb starts; limbs are in the order of processing. */
    public static int start(int limb) {
        return TABLE[limb][0];
    }

    /** The joint where a limb ends. */
    public static int end(int limb) {
        return TABLE[limb][1];
    }

    /** The field's channel for x. */
    static int channelX(int limb) {
        return TABLE[limb][2];
    }

    /** The field's channel for y. */
    static int channelY(int limb) {
        return TABLE[limb][3];
    }
}
