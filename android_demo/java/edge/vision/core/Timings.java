package edge.vision.core;

import java.util.Arrays;

/** The last durations of one stage, in ms, and their percentiles. Threads may share it. */
public final class Timings {
    private final double[] samples;
    private int count;

    /** Keeps at most so many. */
    public Timings(int most) {
        samples = new double[most];
    }

    public synchronized void add(double milliseconds) {
        samples[count++ % samples.length] = milliseconds;
    }

    public synchronized void clear() {
        count = 0;
    }

    /** How many are kept now. */
    public synchronized int size() {
        return Math.min(count, samples.length);
    }

    /** Returns what is kept, in no order. */
    public synchronized double[] samples() {
        return Arrays.copyOf(samples, size());
    }

    /** Returns the duration that a share of 0..1 of them does not exceed (nearest rank); NaN where there is none. */
    public synchronized double percentile(double share) {
        double[] sorted = samples();
        Arrays.sort(sorted);
        if (sorted.length == 0) {
            return Double.NaN;
        }
        return sorted[Math.max(0, (int) Math.ceil(share * sorted.length) - 1)];
    }
}
