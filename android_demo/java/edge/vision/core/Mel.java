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
    private final float[] power; // (frames, mels)
    private final float[] decibels; // (frames, mels), of the power alone
    private final int inner; // the first frame without padding

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
        power = new float[frames * spec.mels];
        decibels = new float[frames * spec.mels];
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

    /**
     * Returns the spectrogram (mels, frames) in dB below its loudest cell of a clip, cut or padded with zeros.
     *
     * @param samples mono at the card's rate, finite, at least one
     */
    public float[] clip(float[] samples) {
        checkSamples(samples);
        load(samples);
        int used = Math.min(samples.length, length);
        // Behind the samples all is silence, and not computed.
        int busy = Math.min(frames, (used + spec.fft / 2 + spec.hop - 1) / spec.hop);
        Arrays.fill(power, 0);
        fill(0, busy);
        return relative();
    }

    /**
     * Returns the same as {@link #clip} for the next window of a sound, which begins {@code hops} whole hops after the one
     * given before; frames that both have are kept.
     *
     * @param samples as many as {@link #length} says, none above {@code LOUDEST}
     */
    public float[] next(float[] samples, int hops) {
        checkSamples(samples);
        if (samples.length != length || hops < 0) {
            throw new Refusal("a window of live sound has the wrong length", length, samples.length);
        }
        load(samples);
        int outer = Math.max(0, (length - spec.fft / 2) / spec.hop + 1); // the first frame padded at the end
        int kept = hops >= outer - inner ? 0 : outer - inner - hops;
        if (kept > 0) {
            System.arraycopy(power, (inner + hops) * spec.mels, power, inner * spec.mels, kept * spec.mels);
            System.arraycopy(decibels, (inner + hops) * spec.mels, decibels, inner * spec.mels, kept * spec.mels);
        }
        fill(0, inner);
        fill(inner + kept, frames);
        return relative();
    }

    private static void checkSamples(float[] samples) {
        if (samples.length == 0 || Decoders.nonfinite(samples) > 0) {
            throw new Refusal("samples must be finite and at least one");
        }
    }

    private void load(float[] samples) {
        int used = Math.min(samples.length, length);
        Arrays.fill(clip, 0);
        System.arraycopy(samples, 0, clip, spec.fft / 2, used);
        float peak = 0;
        for (int i = 0; i < used; i++) {
            peak = Math.max(peak, Math.abs(samples[i]));
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
            bands(spectra[0], frame * spec.mels);
            if (second > frame) {
                bands(spectra[1], second * spec.mels);
            }
        }
    }

    private void bands(float[] spectrum, int to) {
        for (int band = 0; band < spec.mels; band++) {
            float[] row = weights[band];
            int bin = firstBin[band];
            double sum = 0;
            for (int i = 0; i < row.length; i++) {
                sum += row[i] * spectrum[bin + i];
            }
            power[to + band] = (float) sum;
            decibels[to + band] = (float) (10 * Math.log10(Math.max((float) sum, LOWEST_POWER)));
        }
    }

    private float[] relative() {
        float loudest = LOWEST_POWER;
        for (float value : power) {
            loudest = Math.max(loudest, value);
        }
        float top = (float) (10 * Math.log10(loudest));
        float silence = (float) (10 * Math.log10(LOWEST_POWER));
        float floor = (float) -spec.topDb;
        float[] out = new float[power.length];
        for (int frame = 0, from = 0; frame < frames; frame++) {
            for (int band = 0; band < spec.mels; band++, from++) {
                float level = power[from] > LOWEST_POWER ? decibels[from] : silence;
                out[band * frames + frame] = Math.max(floor, level - top);
            }
        }
        return out;
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
