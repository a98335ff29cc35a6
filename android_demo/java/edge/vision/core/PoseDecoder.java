package edge.vision.core;

import java.util.ArrayList;
import java.util.List;

/**
 * The pose decoder: heatmaps and part affinity fields to people, as {@code runtime/paf.py} has it. Maps are never
 * enlarged: only the surface around a joint is, and fields are read between their cells.
 */
final class PoseDecoder implements Decoder {
    private static final int HEATMAPS = Skeleton.JOINTS + 1; // with the background, which is not read
    private static final int PAFS = 2 * Skeleton.LIMBS;
    private static final float MAX_MAP = 1e6f;

    private final int stride;
    private final int upsample;
    private final int minKeypoints;
    private final double minScore;
    private final Peaks peaks;
    private final Limbs limbs;
    private final Maps heat;
    private final Maps fields;

    PoseDecoder(Card card) {
        Table params = card.decoderParams();
        stride = params.whole("stride", 8);
        upsample = params.whole("upsample", 8);
        double threshold = params.number("threshold", 0.1);
        double radius = params.number("nms_radius", 6);
        double pafThreshold = params.number("paf_threshold", 0.05);
        int points = params.whole("points", 10);
        double minRatio = params.number("min_ratio", 0.8);
        minKeypoints = params.whole("min_keypoints", 3);
        minScore = params.number("min_score", 0.2);
        params.done();
        if (stride < 1 || stride > 64 || upsample < 1 || upsample > Peaks.MAX_FACTOR || points < 2 || points > 100) {
            throw new Refusal("pose decoder constants out of range", "stride 1..64, upsample 1..32, points 2..100",
                    stride + ", " + upsample + ", " + points);
        }
        if (!(threshold > 0 && radius >= 0 && radius <= 1000 && minRatio >= 0 && minRatio < 1)) {
            throw new Refusal("pose decoder constants out of range",
                    "threshold above 0, nms_radius 0..1000, min_ratio 0..1", threshold + ", " + radius + ", " + minRatio);
        }
        heat = new Maps(card, HEATMAPS, "heatmaps");
        fields = new Maps(card, PAFS, "affinity fields");
        if (heat.height != fields.height || heat.width != fields.width) {
            throw new Refusal("heatmaps and affinity fields must be of one size");
        }
        if (card.input.kind.equals("image")) {
            checkFit(card.input.height(), heat.height * stride);
            checkFit(card.input.width(), heat.width * stride);
        }
        peaks = new Peaks(threshold, radius, upsample);
        limbs = new Limbs(upsample, points, pafThreshold, minRatio);
    }

    private void checkFit(int side, int cells) {
        if (!(side <= cells && cells < side + stride)) {
            throw new Refusal("maps do not fit the input at stride " + stride, side, cells);
        }
    }

    @Override
    public Result decode(float[][] outputs, Geometry geometry, double threshold) {
        int nonfinite = heat.load(outputs, HEATMAPS - 1) + fields.load(outputs, PAFS);
        double cell = (double) stride / upsample; // input pixels an enlarged pixel
        int rows = heat.height * upsample;
        int columns = heat.width * upsample;
        double scaleX = 1;
        double scaleY = 1;
        if (geometry != null) {
            rows = Math.max((int) Math.rint(geometry.contentHeight / cell), 1);
            columns = Math.max((int) Math.rint(geometry.contentWidth / cell), 1);
            scaleX = geometry.scaleX;
            scaleY = geometry.scaleY;
        }
        if (rows > heat.height * upsample || columns > heat.width * upsample) {
            throw new Refusal("the picture does not fit into the maps");
        }
        List<List<Peak>> parts = peaks.find(heat.planes, Skeleton.JOINTS, heat.height, heat.width, rows, columns);
        List<Peak> joints = new ArrayList<>();
        for (List<Peak> part : parts) {
            joints.addAll(part);
        }
        List<Result.Person> people = new ArrayList<>();
        for (People.Entry entry : People.assemble(
                limbs.match(fields.planes, fields.height, fields.width, parts), joints, minKeypoints, minScore)) {
            Result.Person person = placed(entry, joints, cell / scaleX, cell / scaleY);
            if (Double.isNaN(threshold) || person.confidence() >= threshold) {
                people.add(person);
            }
        }
        people.sort((a, b) -> Double.compare(b.score, a.score)); // stable, as Python's
        return Result.ofPeople(people, peaks.truncated(), nonfinite);
    }

    private static Result.Person placed(People.Entry entry, List<Peak> joints, double scaleX, double scaleY) {
        Result.Keypoint[] points = new Result.Keypoint[Skeleton.JOINTS];
        for (int part = 0; part < points.length; part++) {
            if (entry.joints[part] != People.ABSENT) {
                Peak peak = joints.get(entry.joints[part]);
                points[part] = new Result.Keypoint((peak.x + 0.5) * scaleX, (peak.y + 0.5) * scaleY, peak.height);
            }
        }
        // Times (count - 1): the ranking of the reference's COCO export.
        return new Result.Person(points, entry.score * Math.max(0.0, entry.count - 1));
    }

    /** The last output with so many channels, channels first: a network with stages puts its best one last. */
    private static final class Maps {
        final int height;
        final int width;
        final float[] planes;
        private final int output;
        private final int channels;
        private final boolean channelsLast;

        Maps(Card card, int channels, String what) {
            this.channels = channels;
            for (int i = card.outputs.size() - 1; i >= 0; i--) {
                Card.Output spec = card.outputs.get(i);
                if (spec.shape.length != 4 || spec.shape[0] != 1) {
                    continue;
                }
                boolean first = !spec.layout.equals("NHWC") && spec.shape[1] == channels;
                if (first || !spec.layout.equals("NCHW") && spec.shape[3] == channels) {
                    output = i;
                    channelsLast = !first;
                    height = spec.shape[first ? 2 : 1];
                    width = spec.shape[first ? 3 : 2];
                    planes = new float[spec.size()];
                    return;
                }
            }
            throw new Refusal("pose decoder finds no " + what, "4-D output with " + channels + " channels", "none");
        }

        /** Copies the maps, tamed, and returns how many values of the first channels were not finite. */
        int load(float[][] outputs, int counted) {
            float[] values = outputs[output];
            int area = height * width;
            int nonfinite = 0;
            for (int channel = 0; channel < channels; channel++) {
                int from = channelsLast ? channel : channel * area;
                int step = channelsLast ? channels : 1;
                for (int to = channel * area; to < (channel + 1) * area; to++, from += step) {
                    float value = values[from];
                    if (!(value >= -MAX_MAP && value <= MAX_MAP)) {
                        // Zero is "no joint, no limb"; anything else would spread through the interpolation.
                        boolean finite = value - value == 0;
                        nonfinite += finite || channel >= counted ? 0 : 1;
                        value = finite ? Math.max(-MAX_MAP, Math.min(MAX_MAP, value)) : 0;
                    }
                    planes[to] = value;
                }
            }
            return nonfinite;
        }
    }
}
