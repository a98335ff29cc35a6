package edge.vision.core;

import java.util.ArrayList;
import java.util.List;

/** The face decoder: offsets from prior boxes to boxes and landmarks, as {@code runtime/face.py} has it. */
final class FaceDecoder implements Decoder {
    private static final int MAX_PRIORS = 1 << 22;
    private static final float MAX_LOG_SIZE = 20f; // exp() overflows float32 above 88
    private static final float MAX_OFFSET = 1e9f;

    private final int height;
    private final int width;
    private final double[][] minSizes;
    private final int[] strides;
    private final float[] variances;
    private final double scoreThreshold;
    private final double nmsIou;
    private final int preNms;
    private final int keep;
    private final double displayThreshold;
    private final float[] anchors;
    private final int loc;
    private final int conf;
    private final int landm;

    FaceDecoder(Card card) {
        Table params = card.decoderParams();
        minSizes = params.numberLists("min_sizes", new double[][] {{16, 32}, {64, 128}, {256, 512}});
        strides = params.wholes("strides", 8, 16, 32);
        double[] scales = params.numbers("variances", 0.1, 0.2);
        scoreThreshold = params.number("score_threshold", 0.02);
        nmsIou = params.number("nms_iou", 0.4);
        preNms = params.whole("pre_nms", 5000);
        keep = params.whole("keep", 750);
        displayThreshold = params.number("display_threshold", 0.5);
        params.done();
        checkLevels();
        if (scales.length != 2 || !(Math.min(scales[0], scales[1]) > 0)) {
            throw new Refusal("variances must be two numbers above 0");
        }
        if (Math.min(preNms, keep) < 1 || !(nmsIou >= 0 && nmsIou <= 1)) {
            throw new Refusal("pre_nms and keep must be at least 1, nms_iou 0..1");
        }
        variances = new float[] {(float) scales[0], (float) scales[1]};
        height = card.input.height();
        width = card.input.width();
        anchors = priors();
        loc = head(card, 4, "boxes");
        conf = head(card, 2, "scores");
        landm = head(card, 10, "landmarks");
    }

    private void checkLevels() {
        boolean right = minSizes.length == strides.length && strides.length > 0;
        for (int i = 0; right && i < strides.length; i++) {
            right = strides[i] >= 1 && minSizes[i].length > 0;
            for (double size : minSizes[i]) {
                right &= size > 0;
            }
        }
        if (!right) {
            throw new Refusal("each stride needs its min_sizes, all above 0");
        }
    }

    /** The place of the one output with so many values a prior, whatever its name. */
    private int head(Card card, int values, String what) {
        int found = -1;
        int count = 0;
        for (int i = 0; i < card.outputs.size(); i++) {
            int[] shape = card.outputs.get(i).shape;
            if (shape.length == 3 && shape[0] == 1 && shape[2] == values) {
                found = i;
                count++;
            }
        }
        int priors = anchors.length / 4;
        if (count != 1 || card.outputs.get(found).shape[1] != priors) {
            throw new Refusal("face decoder finds no output for " + what, "one (1, " + priors + ", " + values + ")",
                    count == 1 ? "another number of priors" : count + " of that width");
        }
        return found;
    }

    /** Centre, width and height of the prior boxes, fractions of the input: by level, row, column, size. */
    private float[] priors() {
        long total = 0;
        for (int level = 0; level < strides.length; level++) {
            total += (long) cells(height, level) * cells(width, level) * minSizes[level].length;
        }
        if (total > MAX_PRIORS) {
            throw new Refusal("input size gives too many prior boxes", "at most " + MAX_PRIORS, total);
        }
        float[] values = new float[(int) (4 * total)];
        int at = 0;
        for (int level = 0; level < strides.length; level++) {
            for (int row = 0; row < cells(height, level); row++) {
                for (int column = 0; column < cells(width, level); column++) {
                    for (double size : minSizes[level]) {
                        values[at++] = (float) ((column + 0.5) * strides[level] / width);
                        values[at++] = (float) ((row + 0.5) * strides[level] / height);
                        values[at++] = (float) (size / width);
                        values[at++] = (float) (size / height);
                    }
                }
            }
        }
        return values;
    }

    private int cells(int side, int level) {
        return (side + strides[level] - 1) / strides[level];
    }

    @Override
    public Result decode(float[][] outputs, Geometry geometry, double threshold) {
        int nonfinite = Decoders.nonfinite(outputs[loc], outputs[conf], outputs[landm]);
        double lowest = Double.isNaN(threshold) ? displayThreshold : threshold;
        int[] candidates = candidates(outputs, lowest, nonfinite > 0);
        float resizeX = geometry == null ? 1 : (float) geometry.scaleX;
        float resizeY = geometry == null ? 1 : (float) geometry.scaleY;
        float[] boxes = new float[4 * candidates.length];
        float[] scores = new float[candidates.length];
        for (int i = 0; i < candidates.length; i++) {
            scores[i] = outputs[conf][2 * candidates[i] + 1];
            corners(outputs[loc], candidates[i], boxes, 4 * i);
            // Two steps, as in the origin: float32 rounding decides which of two boxes at the threshold survives.
            for (int corner = 4 * i; corner < 4 * i + 4; corner += 2) {
                boxes[corner] = boxes[corner] * width / resizeX;
                boxes[corner + 1] = boxes[corner + 1] * height / resizeY;
            }
        }
        Nms nms = new Nms(boxes, scores, nmsIou, preNms, keep);
        List<Result.Face> faces = new ArrayList<>();
        for (int place : nms.kept) {
            if (lowest > scoreThreshold && scores[place] < lowest) {
                break; // by descending score
            }
            float[] box = {boxes[4 * place], boxes[4 * place + 1], boxes[4 * place + 2], boxes[4 * place + 3]};
            faces.add(new Result.Face(box, scores[place], points(outputs[landm], candidates[place], resizeX, resizeY)));
        }
        return Result.ofFaces(faces, nms.truncated, nonfinite);
    }

    private int[] candidates(float[][] outputs, double lowest, boolean checked) {
        float[] scores = outputs[conf];
        float least = (float) scoreThreshold;
        int priors = anchors.length / 4;
        int[] found = new int[64];
        int count = 0;
        for (int i = 0; i < priors; i++) {
            if (scores[2 * i + 1] > least) { // false for NaN
                if (count == found.length) {
                    found = java.util.Arrays.copyOf(found, 2 * count);
                }
                found[count++] = i;
            }
        }
        // A box is suppressed by better ones only, and so few hit no cap: those that nobody asks for can go at once.
        boolean few = lowest > scoreThreshold && count <= Math.min(preNms, keep);
        int rest = 0;
        for (int i = 0; i < count; i++) {
            boolean goes = few && scores[2 * found[i] + 1] < lowest;
            if (!goes && !(checked && nonfinite(outputs, found[i]))) {
                found[rest++] = found[i];
            }
        }
        return java.util.Arrays.copyOf(found, rest);
    }

    private boolean nonfinite(float[][] outputs, int prior) {
        return nonfinite(outputs[loc], 4, prior) || nonfinite(outputs[conf], 2, prior)
                || nonfinite(outputs[landm], 10, prior);
    }

    private static boolean nonfinite(float[] head, int values, int prior) {
        for (int at = values * prior; at < values * (prior + 1); at++) {
            if (head[at] - head[at] != 0) {
                return true;
            }
        }
        return false;
    }

    private void corners(float[] offsets, int prior, float[] boxes, int to) {
        for (int axis = 0; axis < 2; axis++) {
            float extent = anchors[4 * prior + 2 + axis];
            float growth = clipped(offsets[4 * prior + 2 + axis]) * variances[1];
            float size = extent * (float) Math.exp(Math.min(growth, MAX_LOG_SIZE));
            float low = along(offsets[4 * prior + axis], prior, axis) - size / 2;
            boxes[to + axis] = low;
            boxes[to + 2 + axis] = low + size;
        }
    }

    private float[] points(float[] offsets, int prior, float resizeX, float resizeY) {
        float[] points = new float[10];
        for (int i = 0; i < 10; i += 2) {
            points[i] = along(offsets[10 * prior + i], prior, 0) * width / resizeX;
            points[i + 1] = along(offsets[10 * prior + i + 1], prior, 1) * height / resizeY;
        }
        return points;
    }

    private float along(float offset, int prior, int axis) {
        return clipped(offset) * variances[0] * anchors[4 * prior + 2 + axis] + anchors[4 * prior + axis];
    }

    private static float clipped(float offset) {
        return Math.max(-MAX_OFFSET, Math.min(MAX_OFFSET, offset));
    }
}
