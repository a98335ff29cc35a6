package edge.vision.core;

import java.util.Arrays;

/**
 * Greedy non-maximum suppression as {@code runtime/nms.py} has it: float32 overlaps, inclusive corners; of equal scores
 * the earlier box is the better one, and boxes without area go.
 */
final class Nms {
    /** Places of the boxes that stay, best first. */
    final int[] kept;
    /** A cap left a box out unseen. */
    final boolean truncated;

    /** Boxes are x1, y1, x2, y2 one after the other; one that is not finite takes no part. */
    Nms(float[] boxes, float[] scores, double threshold, int mostSeen, int mostKept) {
        int[] order = ranking(boxes, scores);
        int seen = Math.min(order.length, mostSeen);
        float limit = (float) threshold;
        float[] areas = new float[scores.length];
        for (int i = 0; i < seen; i++) {
            int at = 4 * order[i];
            areas[order[i]] = (boxes[at + 2] - boxes[at] + 1) * (boxes[at + 3] - boxes[at + 1] + 1);
        }
        int[] stays = new int[Math.min(seen, mostKept + 1)];
        int count = 0;
        for (int i = 0; i < seen && count <= mostKept; i++) {
            boolean free = true;
            for (int j = 0; j < count && free; j++) {
                free = overlap(boxes, areas, stays[j], order[i]) <= limit; // false for NaN, of two without area
            }
            if (free) {
                stays[count++] = order[i];
            }
        }
        truncated = order.length > mostSeen || count > mostKept;
        kept = Arrays.copyOf(stays, Math.min(count, mostKept));
    }

    private static int[] ranking(float[] boxes, float[] scores) {
        Integer[] order = new Integer[scores.length];
        int count = 0;
        for (int i = 0; i < scores.length; i++) {
            float sum = 0;
            for (int side = 4 * i; side < 4 * i + 4; side++) {
                sum += boxes[side] - boxes[side];
            }
            if (sum + (scores[i] - scores[i]) == 0) { // NaN if one is not finite
                order[count++] = i;
            }
        }
        Arrays.sort(order, 0, count, (a, b) -> Float.compare(scores[b], scores[a])); // stable
        int[] places = new int[count];
        for (int i = 0; i < count; i++) {
            places[i] = order[i];
        }
        return places;
    }

    private static float overlap(float[] boxes, float[] areas, int best, int other) {
        int a = 4 * best;
        int b = 4 * other;
        float width = Math.min(boxes[a + 2], boxes[b + 2]) - Math.max(boxes[a], boxes[b]) + 1;
        float height = Math.min(boxes[a + 3], boxes[b + 3]) - Math.max(boxes[a + 1], boxes[b + 1]) + 1;
        float shared = Math.max(width, 0) * Math.max(height, 0);
        return shared / (areas[best] + areas[other] - shared);
    }
}
