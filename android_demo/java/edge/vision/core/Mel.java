package edge.vision.core;

import java.util.Arrays;

/**
 * Mel spectrograms as {@code runtime/mel.py} computes them: Slaney bands, Hann window, centred frames.
 *
 * <p>A window of sound that moves on by whole hops keeps the frames that it shares with the one before, so that live
 * sound costs only what is new. One instance serves one thread.
 */
public final class Mel {
    private static final float LOWEST_POWER = 1e-10f; // librosa's `amin`
    private static final float SILENCE = decibels(LOWEST_POWER);
    private static final float LOUDEST = 32768f; // a clip above it is scaled down, so that its power stays in float32
    private static final int MAX_FFT = 1 << 16;
    private static final int MAX_BANDS = 1 << 12;
    private static final int MAX_FRAMES = 1 << 20;
    private static final long MAX_CELLS = 1 << 25;
    private static final double BREAK_HZ = 1000;
    private static final double BREAK_MEL = 15;
    private static final double LINEAR_HZ = 200.0 / 3;
    private static final double LOG_STEP = Math.log(6.4) / 27;

    private final Card.Audio spec;
    private final int length;
    private final int frames;
    private final Fft fft;
    private final double[] window;
    private final int[] firstBin;
    private final float[][] weights; // by band, from its first bin on
    private final float[] clip;
    private final float[][] spectra;
    private final float[] decibels; // (frames, mels), of the power alone
    private final float[] levels; // (frames, mels), below the loudest cell
    private final int inner; // the first frame without padding
    private double mean;
    private double deviation;

    public Mel(Card.Audio spec) {
        this.spec = spec;
        length = (int) Math.rint(spec.seconds * spec.sampleRate);
        frames = 1 + length / spec.hop;
        long cells = (long) spec.mels * Math.max(frames, spec.fft / 2 + 1);
        if (spec.fft > MAX_FFT || spec.mels > MAX_BANDS || frames > MAX_FRAMES || cells > MAX_CELLS) {
            throw new Refusal("audio settings are out of bounds");
        }
        fft = new Fft(spec.fft);
        window = new double[spec.fft];
        for (int i = 0; i < spec.fft; i++) {
            window[i] = 0.5 - 0.5 * Math.cos(2.0 * Math.PI * i / spec.fft);
        }
        firstBin = new int[spec.mels];
        weights = filterbank(spec, firstBin);
        clip = new float[length + spec.fft];
        spectra = new float[2][spec.fft / 2 + 1];
        decibels = new float[frames * spec.mels];
        levels = new float[frames * spec.mels];
        inner = Math.min(frames, (spec.fft / 2 + spec.hop - 1) / spec.hop);
    }

    /** Frames of a clip. */
    public int frames() {
        return frames;
    }

    /** Samples of a clip, at the card's rate. */
    public int length() {
        return length;
    }

    /** Mean of what {@link #clip} or {@link #next} returned last, dB. */
    public double mean() {
        return mean;
    }

    /** Standard deviation of it, dB. */
    public double deviation() {
        return deviation;
    }

    /**
     * Returns the spectrogram (frames, mels) in dB below its loudest cell of a clip, cut or padded with zeros. The array
     * is overwritten by the next call, and until then not to be written to.
     *
     * @param samples mono at the card's rate, finite, at least one
     */
    public float[] clip(float[] samples) {
        if (samples.length == 0 || Decoders.nonfinite(samples) > 0) {
            throw notFinite();
        }
        int used = Math.min(samples.length, length);
        Arrays.fill(clip, 0);
        System.arraycopy(samples, 0, clip, spec.fft / 2, used);
        quieten(used);
        // Behind the samples all is silence, and not computed.
        int busy = Math.min(frames, (used + spec.fft / 2 + spec.hop - 1) / spec.hop);
        Arrays.fill(decibels, SILENCE);
        fill(0, busy);
        return relative();
    }

    /**
     * Returns the same as {@link #clip} for the next window of a sound, which begins {@code hops} whole hops after the one
     * given before; frames that both have are kept, and samples that only they see are not looked at.
     *
     * @param samples as many as {@link #length} says, none above {@code LOUDEST}
     */
    public float[] next(float[] samples, int hops) {
        if (samples.length != length || hops < 0) {
            throw new Refusal("a window of live sound has the wrong length", length, samples.length);
        }
        int outer = Math.max(0, (length - spec.fft / 2) / spec.hop + 1); // the first frame padded at the end
        int kept = hops >= outer - inner ? 0 : outer - inner - hops;
        if (kept > 0) {
            System.arraycopy(decibels, (inner + hops) * spec.mels, decibels, inner * spec.mels, kept * spec.mels);
        }
        load(samples, 0, inner);
        load(samples, inner + kept, frames);
        fill(0, inner);
        fill(inner + kept, frames);
        return relative();
    }

    private static Refusal notFinite() {
        return new Refusal("samples must be finite and at least one");
    }

    /** Copies what some frames see; the padding before and behind is zero, and stays so. */
    private void load(float[] samples, int fromFrame, int toFrame) {
        int from = Math.max(0, fromFrame * spec.hop - spec.fft / 2);
        int to = Math.min(length, (toFrame - 1) * spec.hop + spec.fft / 2);
        for (int i = from; i < to; i++) {
            if (samples[i] - samples[i] != 0) {
                throw notFinite();
            }
            clip[spec.fft / 2 + i] = samples[i];
        }
    }

    private void quieten(int used) {
        float peak = 0;
        for (int i = spec.fft / 2; i < spec.fft / 2 + used; i++) {
            peak = Math.max(peak, Math.abs(clip[i]));
        }
        if (peak > LOUDEST) {
            for (int i = 0; i < clip.length; i++) {
                clip[i] /= peak;
            }
        }
    }

    private void fill(int from, int to) {
        for (int frame = from; frame < to; frame += 2) {
            int second = Math.min(frame + 1, to - 1);
            fft.power(clip, frame * spec.hop, second * spec.hop, window, spectra[0], spectra[1]);
            bands(frame, second);
        }
    }

    /** Sums both spectra at once, each in two halves: additions that do not wait for each other. */
    private void bands(int first, int second) {
        float[] one = spectra[0];
        float[] other = spectra[1];
        for (int band = 0; band < spec.mels; band++) {
            float[] row = weights[band];
            int bin = firstBin[band];
            double oneEven = 0;
            double oneOdd = 0;
            double otherEven = 0;
            double otherOdd = 0;
            int i = 0;
            for (; i + 1 < row.length; i += 2) {
                oneEven += row[i] * one[bin + i];
                oneOdd += row[i + 1] * one[bin + i + 1];
                otherEven += row[i] * other[bin + i];
                otherOdd += row[i + 1] * other[bin + i + 1];
            }
            if (i < row.length) {
                oneEven += row[i] * one[bin + i];
                otherEven += row[i] * other[bin + i];
            }
            decibels[second * spec.mels + band] = decibels(otherEven + otherOdd);
            decibels[first * spec.mels + band] = decibels(oneEven + oneOdd); // last: both may be one frame
        }
    }

    private static float decibels(double power) {
        return (float) (10 * Math.log10(Math.max((float) power, LOWEST_POWER)));
    }

    private float[] relative() {
        float top = SILENCE;
        for (float value : decibels) {
            top = Math.max(top, value);
        }
        float floor = (float) -spec.topDb;
        // About a value in the middle, so that squares lose no digits; in four parts that do not wait for each other.
        double middle = floor / 2;
        double[] sums = new double[4];
        double[] squares = new double[4];
        for (int i = 0; i < levels.length; i++) {
            float level = Math.max(floor, decibels[i] - top);
            double off = level - middle;
            levels[i] = level;
            sums[i & 3] += off;
            squares[i & 3] += off * off;
        }
        double off = (sums[0] + sums[1] + sums[2] + sums[3]) / levels.length;
        mean = middle + off;
        double square = (squares[0] + squares[1] + squares[2] + squares[3]) / levels.length;
        deviation = Math.sqrt(Math.max(0, square - off * off));
        return levels;
    }

    /** Triangles of equal area on Slaney's scale, each from the first bin that it weighs. */
    private static float[][] filterbank(Card.Audio spec, int[] firstBin) {
        double half = spec.sampleRate / 2.0;
        if (!(spec.fmin >= 0 && spec.fmin < spec.fmax && spec.fmax <= half)) {
            throw new Refusal("mel bands must lie within 0.." + half + " Hz", "fmin < fmax", spec.fmin + ".." + spec.fmax);
        }
        double lowest = hzToMel(spec.fmin);
        double highest = hzToMel(spec.fmax);
        double[] edges = new double[spec.mels + 2];
        for (int i = 0; i < edges.length; i++) {
            edges[i] = melToHz(lowest + i * ((highest - lowest) / (edges.length - 1)));
        }
        edges[edges.length - 1] = melToHz(highest);
        float[][] bank = new float[spec.mels][];
        for (int band = 0; band < spec.mels; band++) {
            float[] row = new float[spec.fft / 2 + 1];
            int first = row.length;
            int last = -1;
            for (int bin = 0; bin < row.length; bin++) {
                double hz = bin * ((double) spec.sampleRate / spec.fft);
                double rising = (hz - edges[band]) / (edges[band + 1] - edges[band]);
                double falling = (edges[band + 2] - hz) / (edges[band + 2] - edges[band + 1]);
                row[bin] = (float) (Math.max(0, Math.min(rising, falling)) * (2.0 / (edges[band + 2] - edges[band])));
                if (row[bin] > 0) {
                    first = Math.min(first, bin);
                    last = bin;
                }
            }
            firstBin[band] = last < 0 ? 0 : first;
            bank[band] = last < 0 ? new float[0] : Arrays.copyOfRange(row, first, last + 1);
        }
        return bank;
    }

    private static double hzToMel(double hz) {
        return hz < BREAK_HZ ? hz / LINEAR_HZ : BREAK_MEL + Math.log(hz / BREAK_HZ) / LOG_STEP;
    }

    private static double melToHz(double mel) {
        return mel < BREAK_MEL ? mel * LINEAR_HZ : BREAK_HZ * Math.exp(LOG_STEP * (mel - BREAK_MEL));
    }
}
