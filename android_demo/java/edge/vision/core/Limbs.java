package edge.vision.core;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/** Limbs: pairs of joints that an affinity field connects, by the rules of {@code runtime/limbs.py}, ties included. */
final class Limbs {
    private static final double EPSILON = 1e-6; // added to norms and counts by the reference
    /** Of equal affinities the shorter pair comes first; the list is by end and start already, and the sort is stable. */
    private static final Comparator<Limb> BEST = (a, b) -> a.affinity != b.affinity
            ? Double.compare(b.affinity, a.affinity)
            : Float.compare(a.length, b.length);

    /** A connection of two joints. */
    static final class Limb {
        final Peak start;
        final Peak end;
        final double affinity;
        final float length; // squared

        Limb(Peak start, Peak end, double affinity, float length) {
            this.start = start;
            this.end = end;
            this.affinity = affinity;
            this.length = length;
        }
    }

    private final int upsample;
    private final int points;
    private final float threshold;
    private final int needed;
    private final float[] products;
    private final float scale;
    private final float shift;

    private float[] pafs;
    private int height;
    private int width;

    Limbs(int upsample, int points, double threshold, double minRatio) {
        this.upsample = upsample;
        this.points = points;
        this.threshold = (float) threshold;
        products = new float[points];
        scale = (float) (1.0 / upsample);
        shift = (float) (0.5 / upsample - 0.5);
        int count = 0;
        while (count <= points && !((double) count / points > minRatio)) {
            count++;
        }
        needed = count;
    }

    /** Returns the connections of each limb, one to one, best first; fields are (38, height, width), finite. */
    List<List<Limb>> match(float[] pafs, int height, int width, List<List<Peak>> peaks) {
        this.pafs = pafs;
        this.height = height;
        this.width = width;
        int joints = 0;
        for (List<Peak> part : peaks) {
            joints += part.size();
        }
        List<List<Limb>> found = new ArrayList<>();
        for (int limb = 0; limb < Skeleton.LIMBS; limb++) {
            List<Limb> pairs = new ArrayList<>();
            int planeX = Skeleton.channelX(limb) * height * width;
            int planeY = Skeleton.channelY(limb) * height * width;
            for (Peak end : peaks.get(Skeleton.end(limb))) {
                for (Peak start : peaks.get(Skeleton.start(limb))) {
                    Limb pair = scored(start, end, planeX, planeY);
                    if (pair != null) {
                        pairs.add(pair);
                    }
                }
            }
            pairs.sort(BEST);
            found.add(oneToOne(pairs, joints));
        }
        return found;
    }

    private static List<Limb> oneToOne(List<Limb> pairs, int joints) {
        boolean[] taken = new boolean[joints]; // the two ends of a limb are of different parts
        List<Limb> kept = new ArrayList<>();
        for (Limb pair : pairs) {
            if (!taken[pair.start.id] && !taken[pair.end.id]) {
                taken[pair.start.id] = true;
                taken[pair.end.id] = true;
                kept.add(pair);
            }
        }
        return kept;
    }

    /** The mean of the field along the line from joint to joint; null where too few points of it count. */
    private Limb scored(Peak start, Peak end, int planeX, int planeY) {
        // float32 throughout, as the reference: another rounding would read other pixels.
        float dx = (float) end.x - (float) start.x;
        float dy = (float) end.y - (float) start.y;
        float length = dx * dx + dy * dy;
        float norm = (float) Math.sqrt(length) + (float) EPSILON;
        float unitX = dx / norm;
        float unitY = dy / norm;
        float fromX = cell(start.x, width);
        float fromY = cell(start.y, height);
        float part = (float) (1.0 / (points - 1));
        float stepX = (cell(end.x, width) - fromX) * part;
        float stepY = (cell(end.y, height) - fromY) * part;
        int count = 0;
        for (int point = 0; point < points; point++) {
            float x = stepX * point + fromX;
            float y = stepY * point + fromY;
            if (upsample == 1) {
                x = (float) Math.rint(x);
                y = (float) Math.rint(y);
            }
            float along = read(planeX, x, y) * unitX + read(planeY, x, y) * unitY;
            boolean counts = along > threshold;
            products[point] = counts ? along : 0;
            count += counts ? 1 : 0;
            if (count + points - 1 - point < needed) {
                return null;
            }
        }
        double affinity = pairwiseSum(products) / (count + EPSILON);
        return affinity > 0 ? new Limb(start, end, affinity, length) : null;
    }

    /** An enlarged pixel in cells, not beyond the centres of the outermost ones. */
    private float cell(double pixel, int size) {
        return Math.max(0, Math.min(size - 1, (float) pixel * scale + shift));
    }

    /** A plane between its cells, bilinearly; what lies beyond the last row or column weighs nothing. */
    private float read(int plane, float x, float y) {
        int column = (int) x;
        int row = (int) y;
        float right = x - column;
        float down = y - row;
        int place = plane + row * width + column;
        float upper = at(place);
        upper += right * (at(place + 1) - upper);
        float lower = at(place + width);
        lower += right * (at(place + width + 1) - lower);
        return upper + down * (lower - upper);
    }

    private float at(int place) {
        return place < pafs.length ? pafs[place] : 0;
    }

    /** A sum in the order in which NumPy adds up a row of up to 128 numbers, so that equal affinities stay equal. */
    private static float pairwiseSum(float[] values) {
        int whole = values.length - values.length % 8;
        float sum = 0;
        if (values.length >= 8) {
            float[] lanes = new float[8];
            System.arraycopy(values, 0, lanes, 0, 8);
            for (int i = 8; i < whole; i++) {
                lanes[i % 8] += values[i];
            }
            sum = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
        }
        for (int i = whole; i < values.length; i++) {
            sum += values[i];
        }
        return sum;
    }
}
