package edge.vision.core;

/**
 * A clip at another rate, through the windowed-sinc low-pass of {@code runtime/audio.py} in polyphase form: 32 zero
 * crossings a side under a Kaiser window with beta 9.
 */
public final class Resampler {
    private static final int MAX_RATE = 768_000;
    private static final int ZERO_CROSSINGS = 32;
    private static final double KAISER_BETA = 9;
    private static final double ROLL_OFF = 0.91;
    private static final long KEPT_WEIGHTS = 1 << 22;

    private final int up;
    private final int down;
    private final double cutoff;
    private final int half;
    private final float[][] kernels; // by phase, made when first needed

    public Resampler(int fromRate, int toRate) {
        if (fromRate < 1 || toRate < 1 || fromRate > MAX_RATE || toRate > MAX_RATE) {
            throw new Refusal("sample rate out of range", "1.." + MAX_RATE + " Hz", fromRate + ", " + toRate);
        }
        int divisor = gcd(fromRate, toRate);
        up = toRate / divisor;
        down = fromRate / divisor;
        cutoff = ROLL_OFF * Math.min(1.0, (double) up / down);
        half = (int) Math.ceil(ZERO_CROSSINGS / cutoff);
        kernels = new float[(long) up * (2 * half + 1) <= KEPT_WEIGHTS ? up : 0][];
    }

    /** Returns ceil(n * to / from) samples; zeros are assumed before and after the clip. */
    public float[] resample(float[] samples) {
        if (up == down) {
            return samples.clone();
        }
        long length = ((long) samples.length * up + down - 1) / down;
        if (length > 1 << 28) {
            throw new Refusal("resampled clip is over 1 GiB", "at most 2**28 samples", length);
        }
        float[] out = new float[(int) length];
        for (int n = 0; n < out.length; n++) {
            // Output n sits at n * down / up of the input: its whole part picks the window, the rest the kernel.
            long place = (long) n * down;
            out[n] = filtered(samples, (int) (place / up) - half, kernel((int) (place % up)));
        }
        return out;
    }

    private static float filtered(float[] samples, int start, float[] kernel) {
        int from = Math.max(0, -start);
        int to = Math.min(kernel.length, samples.length - start);
        double sum = 0;
        for (int tap = from; tap < to; tap++) {
            sum += kernel[tap] * samples[start + tap];
        }
        return (float) sum;
    }

    private float[] kernel(int phase) {
        if (kernels.length == 0) {
            return made(phase);
        }
        if (kernels[phase] == null) {
            kernels[phase] = made(phase);
        }
        return kernels[phase];
    }

    private float[] made(int phase) {
        double[] taps = new double[2 * half + 1];
        double total = 0;
        for (int tap = 0; tap < taps.length; tap++) {
            double distance = tap - half - (double) phase / up;
            double share = distance * cutoff / ZERO_CROSSINGS;
            double inside = 1 - share * share;
            if (inside > 0) {
                taps[tap] = sinc(distance * cutoff) * bessel(KAISER_BETA * Math.sqrt(inside));
                total += taps[tap];
            }
        }
        float[] kernel = new float[taps.length];
        for (int tap = 0; tap < taps.length; tap++) {
            kernel[tap] = (float) (taps[tap] / total);
        }
        return kernel;
    }

    private static double sinc(double x) {
        return x == 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
    }

    /** The modified Bessel function of the first kind and order 0, by its power series. */
    private static double bessel(double x) {
        double sum = 1;
        double term = 1;
        for (int k = 1; term > 1e-17 * sum; k++) {
            term *= x * x / (4.0 * k * k);
            sum += term;
        }
        return sum;
    }

    private static int gcd(int a, int b) {
        return b == 0 ? a : gcd(b, a % b);
    }
}
