package edge.vision.core;

/** The power spectrum of real samples: a radix-2 FFT in double precision, two frames at a time. */
final class Fft {
    private final int size;
    private final int[] swapped;
    private final double[] cosines;
    private final double[] sines;
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
        cosines = new double[size / 2];
        sines = new double[size / 2];
        for (int i = 0; i < size / 2; i++) {
            cosines[i] = Math.cos(2 * Math.PI * i / size);
            sines[i] = -Math.sin(2 * Math.PI * i / size);
        }
        real = new double[size];
        imaginary = new double[size];
    }

    /**
     * Puts |X|^2 of two frames of windowed samples into two arrays of size / 2 + 1, in single precision as NumPy's caller
     * has it. One complex transform serves both: the second frame is its imaginary part.
     */
    void power(float[] samples, int first, int second, double[] window, float[] firstPower, float[] secondPower) {
        for (int i = 0; i < size; i++) {
            real[swapped[i]] = samples[first + i] * window[i];
            imaginary[swapped[i]] = samples[second + i] * window[i];
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
        for (int i = 0; i < size; i += 2) { // the first stage has no factors
            double re = real[i + 1];
            double im = imaginary[i + 1];
            real[i + 1] = real[i] - re;
            imaginary[i + 1] = imaginary[i] - im;
            real[i] += re;
            imaginary[i] += im;
        }
        for (int half = 2; half < size; half *= 2) {
            int step = size / (2 * half);
            for (int start = 0; start < size; start += 2 * half) {
                for (int i = start, turn = 0; i < start + half; i++, turn += step) {
                    int j = i + half;
                    double re = real[j] * cosines[turn] - imaginary[j] * sines[turn];
                    double im = real[j] * sines[turn] + imaginary[j] * cosines[turn];
                    real[j] = real[i] - re;
                    imaginary[j] = imaginary[i] - im;
                    real[i] += re;
                    imaginary[i] += im;
                }
            }
        }
    }
}
