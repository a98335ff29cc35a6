package edge.vision.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;

/**
 * Body joints as maxima of heatmaps, found on the small maps and refined below a cell: the rules of
 * {@code runtime/peaks.py}, ties included.
 */
final class Peaks {
    static final int MAX_FACTOR = 32;
    private static final int MAX_PEAKS = 256;
    private static final int MAX_CANDIDATES = 8 * MAX_PEAKS;
    private static final double OVERSHOOT = 1.375 * 1.375; // what the bicubic surface can rise above its cells
    private static final float TINY = 1e-9f;
    private static final float FLAT = 1e-5f; // of its height that a peak must fall to a neighbour

    private static final Comparator<Peak> BY_PLACE = (a, b) -> a.x != b.x ? Double.compare(a.x, b.x) : Double.compare(a.y, b.y);
    private static final Comparator<Peak> BY_HEIGHT = (a, b) -> Float.compare(b.height, a.height);

    private final int factor;
    private final float threshold;
    private final float candidateThreshold;
    private final double radius;
    private final Patch patch;
    private boolean truncated;

    Peaks(double threshold, double radius, int factor) {
        this.factor = factor;
        this.radius = radius;
        this.threshold = (float) threshold;
        candidateThreshold = (float) (factor == 1 ? threshold : threshold / OVERSHOOT);
        patch = factor == 1 ? null : new Patch(factor);
    }

    /** Whether a cap dropped some joints of the last {@link #find}. */
    boolean truncated() {
        return truncated;
    }

    /**
     * Returns the joints of each part, by x, then y.
     *
     * @param maps (parts, height, width), finite
     * @param rows of the enlarged map that are searched
     * @param columns of the enlarged map that are searched
     */
    List<List<Peak>> find(float[] maps, int parts, int height, int width, int rows, int columns) {
        truncated = false;
        List<List<Peak>> found = new ArrayList<>();
        int id = 0;
        for (int part = 0; part < parts; part++) {
            Map map = new Map(maps, part * height * width, height, width, rows, columns);
            List<Peak> cells = capped(candidates(map), MAX_CANDIDATES);
            List<Peak> peaks = new ArrayList<>(cells.size());
            for (Peak cell : cells) {
                Peak peak = factor == 1 ? cell : refined(map, (int) cell.x, (int) cell.y);
                if (peak != null) {
                    peaks.add(peak);
                }
            }
            peaks.sort(BY_PLACE);
            peaks = capped(thinned(peaks), MAX_PEAKS);
            for (Peak peak : peaks) {
                peak.id = id++;
            }
            found.add(peaks);
        }
        return found;
    }

    private static final class Map {
        final float[] values;
        final int start;
        final int height;
        final int width;
        final int rows; // enlarged
        final int columns; // enlarged

        Map(float[] values, int start, int height, int width, int rows, int columns) {
            this.values = values;
            this.start = start;
            this.height = height;
            this.width = width;
            this.rows = rows;
            this.columns = columns;
        }
    }

    /** The maxima among cells, by row and column. */
    private List<Peak> candidates(Map map) {
        List<Peak> found = new ArrayList<>();
        int rows = (map.rows + factor - 1) / factor;
        int columns = (map.columns + factor - 1) / factor;
        boolean exact = factor == 1;
        for (int y = 0; y < rows; y++) {
            int line = map.start + y * map.width;
            for (int x = 0; x < columns; x++) {
                float value = map.values[line + x];
                if (!(value >= candidateThreshold)) {
                    continue;
                }
                float up = y > 0 ? map.values[line + x - map.width] : Float.NEGATIVE_INFINITY;
                float left = x > 0 ? map.values[line + x - 1] : Float.NEGATIVE_INFINITY;
                float right = x + 1 < columns ? map.values[line + x + 1] : Float.NEGATIVE_INFINITY;
                float down = y + 1 < rows ? map.values[line + x + map.width] : Float.NEGATIVE_INFINITY;
                float highest = Math.max(Math.max(up, down), Math.max(left, right));
                if (exact ? highest >= value : highest > value) {
                    continue;
                }
                if (exact || highest < value || winsTie(map, rows, columns, y, x, value)) {
                    found.add(new Peak(x, y, value));
                }
            }
        }
        return found;
    }

    /** Of equal neighbours the one with the higher surroundings counts, then the last by row and column. */
    private static boolean winsTie(Map map, int rows, int columns, int y, int x, float value) {
        float own = around(map, rows, columns, y, x);
        for (int side = 0; side < 4; side++) {
            int row = y + (side == 0 ? -1 : side == 3 ? 1 : 0);
            int column = x + (side == 1 ? -1 : side == 2 ? 1 : 0);
            if (at(map, rows, columns, row, column) != value) {
                continue;
            }
            float theirs = around(map, rows, columns, row, column);
            if (theirs > own || theirs == own && side >= 2) {
                return false;
            }
        }
        return true;
    }

    private static float around(Map map, int rows, int columns, int y, int x) {
        float sum = at(map, rows, columns, y - 1, x) + at(map, rows, columns, y, x - 1);
        sum += at(map, rows, columns, y, x + 1);
        return sum + at(map, rows, columns, y + 1, x);
    }

    private static float at(Map map, int rows, int columns, int y, int x) {
        boolean outside = y < 0 || x < 0 || y >= rows || x >= columns;
        return outside ? Float.NEGATIVE_INFINITY : map.values[map.start + y * map.width + x];
    }

    /** Where the bicubic surface around a cell has its highest top; null where it has none that is high enough. */
    private Peak refined(Map map, int cellX, int cellY) {
        patch.fill(map, cellX, cellY, factor);
        float[] surface = patch.surface;
        int side = patch.side;
        int place = -1;
        for (int row = 1; row < side - 1; row++) {
            for (int p = row * side + 1; p < (row + 1) * side - 1; p++) {
                float value = surface[p];
                if (value >= threshold && value > surface[p - 1] && value > surface[p - side]
                        && value >= surface[p + 1] && value >= surface[p + side]
                        && (place < 0 || value >= surface[place])) {
                    place = p;
                }
            }
        }
        if (place < 0) {
            return null;
        }
        double x = shifted(surface, place, 1, cellX * factor + patch.first + place % side, map.columns);
        double y = shifted(surface, place, side, cellY * factor + patch.first + place / side, map.rows);
        return Double.isNaN(x + y) ? null : new Peak(x, y, surface[place]);
    }

    /** The place of a parabola's top through three pixels of a line; NaN where the surface is level. */
    private static double shifted(float[] surface, int place, int step, int pixel, int size) {
        float value = surface[place];
        float before = surface[place - step];
        float after = surface[place + step];
        boolean inside = pixel > 0 && pixel < size - 1; // at the picture's rim the surface has no other side
        float lower = inside ? Math.min(before, after) : Math.max(before, after);
        if (!(value - lower > FLAT * value)) {
            return Double.NaN;
        }
        return inside ? pixel + 0.5f * (after - before) / Math.max(2 * value - before - after, TINY) : pixel;
    }

    /** Of joints closer than the radius the higher one stays; without refinement the left one. They come by x. */
    private List<Peak> thinned(List<Peak> peaks) {
        double reach = Math.max(radius, 1e-3); // two candidates may have climbed to one top
        List<Peak> order = peaks;
        if (factor > 1) {
            order = new ArrayList<>(peaks);
            order.sort(BY_HEIGHT);
        }
        for (int i = 0; i < peaks.size(); i++) {
            peaks.get(i).id = i;
        }
        boolean[] stays = new boolean[peaks.size()];
        for (Peak peak : order) {
            stays[peak.id] = free(peaks, stays, peak, -1, reach) && free(peaks, stays, peak, 1, reach);
        }
        List<Peak> kept = new ArrayList<>(peaks.size());
        for (Peak peak : peaks) {
            if (stays[peak.id]) {
                kept.add(peak);
            }
        }
        return kept;
    }

    private static boolean free(List<Peak> peaks, boolean[] stays, Peak peak, int step, double reach) {
        for (int i = peak.id + step; i >= 0 && i < peaks.size(); i += step) {
            double dx = peaks.get(i).x - peak.x;
            if (Math.abs(dx) >= reach) {
                return true;
            }
            double dy = peaks.get(i).y - peak.y;
            if (stays[i] && dx * dx + dy * dy < reach * reach) {
                return false;
            }
        }
        return true;
    }

    /** The highest joints up to a cap, in the order they came in. */
    private List<Peak> capped(List<Peak> peaks, int most) {
        if (peaks.size() <= most) {
            return peaks;
        }
        truncated = true;
        for (int i = 0; i < peaks.size(); i++) {
            peaks.get(i).id = i;
        }
        List<Peak> order = new ArrayList<>(peaks);
        order.sort(BY_HEIGHT);
        List<Peak> kept = new ArrayList<>(order.subList(0, most));
        Collections.sort(kept, (a, b) -> Integer.compare(a.id, b.id));
        return kept;
    }

    /** The bicubic surface near a cell: linear in the cells about it, and separable. */
    private static final class Patch {
        final int first; // pixel of the surface's first row and column, from the cell's own first one
        final int side;
        final float[] surface;
        private final int reach;
        private final double[] line; // (taps, side)
        private final double[] across; // (taps, side): rows of cells, columns of pixels

        Patch(int factor) {
            reach = factor >= 4 ? 2 : 3;
            int low = (reach + 1) * factor;
            int high = -reach * factor;
            for (int pixel = -reach * factor; pixel < (reach + 1) * factor; pixel++) {
                if (Math.abs((pixel + 0.5) / factor - 0.5) < reach - 1.1) {
                    low = Math.min(low, pixel);
                    high = Math.max(high, pixel);
                }
            }
            first = low;
            side = high - low + 1;
            int taps = 2 * reach + 1;
            line = new double[taps * side];
            for (int tap = 0; tap < taps; tap++) {
                for (int i = 0; i < side; i++) {
                    line[tap * side + i] = Resize.cubic(Math.abs((first + i + 0.5) / factor - 0.5 - (tap - reach)));
                }
            }
            across = new double[taps * side];
            surface = new float[side * side];
        }

        void fill(Map map, int cellX, int cellY, int factor) {
            int taps = 2 * reach + 1;
            for (int a = 0; a < taps; a++) {
                int row = map.start + Math.max(0, Math.min(map.height - 1, cellY + a - reach)) * map.width;
                for (int i = 0; i < side; i++) {
                    across[a * side + i] = 0;
                }
                for (int b = 0; b < taps; b++) {
                    double value = map.values[row + Math.max(0, Math.min(map.width - 1, cellX + b - reach))];
                    for (int i = 0; i < side; i++) {
                        across[a * side + i] += value * line[b * side + i];
                    }
                }
            }
            int left = cellX * factor + first;
            int top = cellY * factor + first;
            for (int r = 0; r < side; r++) {
                boolean inside = top + r >= 0 && top + r < map.rows; // outside the picture the surface is zero
                for (int c = 0; c < side; c++) {
                    double sum = 0;
                    if (inside && left + c >= 0 && left + c < map.columns) {
                        for (int a = 0; a < taps; a++) {
                            sum += across[a * side + c] * line[a * side + r];
                        }
                    }
                    surface[r * side + c] = (float) sum;
                }
            }
        }
    }
}
