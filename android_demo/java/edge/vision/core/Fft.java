package edge.vision.core;

/**
 * The power spectrum of real samples: an FFT in double precision, two frames at a time.
 *
 * <p>Decimation in time over bit-reversed input. Two stages of radix 2 go in one pass, as each pass over the arrays costs
 * more than what is computed in it; the factors of a pass lie in a row, in the order in which they are needed.
 */
final class Fft {
    private final int size;
    private final int[] swapped;
    private final double[][] factors; // by pass: cosine, sine of the first stage, then of the second, for each place
    private final double[] real;
    private final double[] imaginary;

    /** The length must be a power of two. */
    Fft(int size) {
        if (size < 2 || Integer.bitCount(size) != 1) {
            throw new Refusal("the window of a spectrogram must be a power of two here", "2048", size);
        }
        this.size = size;
        swapped = new int[size];
        int bits = Integer.numberOfTrailingZeros(size);
        for (int i = 0; i < size; i++) {
            swapped[i] = Integer.reverse(i) >>> (32 - bits);
        }
        factors = new double[bits][];
        for (int pass = 0, span = firstSpan(); span < size; pass++, span *= 4) {
            double[] turns = new double[4 * span];
            for (int i = 0; i < span; i++) {
                turns[4 * i] = Math.cos(Math.PI * i / span);
                turns[4 * i + 1] = -Math.sin(Math.PI * i / span);
                turns[4 * i + 2] = Math.cos(Math.PI * i / (2 * span));
                turns[4 * i + 3] = -Math.sin(Math.PI * i / (2 * span));
            }
            factors[pass] = turns;
        }
        real = new double[size];
        imaginary = new double[size];
    }

    /** An odd number of stages leaves one over, which is done by itself. */
    private int firstSpan() {
        return Integer.numberOfTrailingZeros(size) % 2 == 0 ? 1 : 2;
    }

    /**
     * Puts |X|^2 of two frames of windowed samples into two arrays of size / 2 + 1, in single precision as NumPy's caller
     * has it. One complex transform serves both: the second frame is its imaginary part.
     */
    void power(float[] samples, int first, int second, double[] window, float[] firstPower, float[] secondPower) {
        for (int i = 0; i < size; i++) {
            int to = swapped[i];
            real[to] = samples[first + i] * window[i];
            imaginary[to] = samples[second + i] * window[i];
        }
        transform();
        for (int bin = 0; bin <= size / 2; bin++) {
            int mirror = (size - bin) & (size - 1);
            firstPower[bin] = square(0.5 * (real[bin] + real[mirror]), 0.5 * (imaginary[bin] - imaginary[mirror]));
            secondPower[bin] = square(0.5 * (imaginary[bin] + imaginary[mirror]), 0.5 * (real[mirror] - real[bin]));
        }
    }

    private static float square(double re, double im) {
        return (float) re * (float) re + (float) im * (float) im;
    }

    private void transform() {
        int span = firstSpan();
        if (span == 2) { // this stage has no factors
            for (int i = 0; i < size; i += 2) {
                double re = real[i + 1];
                double im = imaginary[i + 1];
                real[i + 1] = real[i] - re;
                imaginary[i + 1] = imaginary[i] - im;
                real[i] += re;
                imaginary[i] += im;
            }
        }
        for (int pass = 0; span < size; pass++, span *= 4) {
            for (int start = 0; start < size; start += 4 * span) {
                pass(real, imaginary, factors[pass], start, span);
            }
        }
    }

    /** Makes one spectrum of four that lie one behind the other. */
    private static void pass(double[] re, double[] im, double[] turns, int start, int span) {
        for (int k = 0; k < span; k++) {
            int a = start + k;
            int b = a + span;
            int c = b + span;
            int d = c + span;
            double cosine = turns[4 * k];
            double sine = turns[4 * k + 1];
            double bRe = re[b] * cosine - im[b] * sine;
            double bIm = re[b] * sine + im[b] * cosine;
            double dRe = re[d] * cosine - im[d] * sine;
            double dIm = re[d] * sine + im[d] * cosine;
            double evenRe = re[a] + bRe;
            double evenIm = im[a] + bIm;
            double oddRe = re[a] - bRe;
            double oddIm = im[a] - bIm;
            double sumRe = re[c] + dRe;
            double sumIm = im[c] + dIm;
            double restRe = re[c] - dRe;
            double restIm = im[c] - dIm;
            cosine = turns[4 * k + 2];
            sine = turns[4 * k + 3];
            double turnedRe = sumRe * cosine - sumIm * sine;
            double turnedIm = sumRe * sine + sumIm * cosine;
            // A quarter further round: times -i.
            double quarterRe = restRe * sine + restIm * cosine;
            double quarterIm = restIm * sine - restRe * cosine;
            re[a] = evenRe + turnedRe;
            im[a] = evenIm + turnedIm;
            re[b] = oddRe + quarterRe;
            im[b] = oddIm + quarterIm;
            re[c] = evenRe - turnedRe;
            im[c] = evenIm - turnedIm;
            re[d] = oddRe - quarterRe;
            im[d] = oddIm - quarterIm;
        }
    }
}
