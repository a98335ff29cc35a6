package edge.vision.core;

import java.util.Arrays;

/** From a sound to the tensor that a card's input contract asks for, as {@code runtime/audio_input.py} does it. */
public final class SoundPreprocessor {
    private static final double RESAMPLE_MARGIN = 0.05; // seconds kept, so that the filter sees what follows
    private static final double MAX_Z = 1 << 14;
    private static final double ZSCORE_EPSILON = 1e-8;
    private static final float LOUDEST = 32768f;

    private final Card.Input spec;
    private final Mel mel;
    private final float[] map; // (height, width), what goes into each channel
    private final float[] tensor;

    public SoundPreprocessor(Card.Input spec) {
        if (!spec.kind.equals("audio")) {
            throw new Refusal("this input takes no sound", "kind `audio`", "kind `" + spec.kind + "`");
        }
        Preprocessor.refuseOverflow(spec, MAX_Z);
        this.spec = spec;
        mel = new Mel(spec.audio);
        map = new float[spec.height() * spec.width()];
        tensor = new float[spec.size()];
    }

    /** The tensor of the last clip, overwritten by the next one. */
    public float[] tensor() {
        return tensor;
    }

    /** Samples at the card's rate that one clip uses. */
    public int length() {
        return mel.length();
    }

    /** Fills {@link #tensor} with the beginning of a clip. */
    public void prepare(Sound sound) {
        int most = (int) Math.min(Integer.MAX_VALUE, Math.ceil((spec.audio.seconds + RESAMPLE_MARGIN) * sound.rate));
        float[] head = sound.samples.length > most ? Arrays.copyOf(sound.samples, most) : sound.samples;
        if (sound.rate != spec.audio.sampleRate) {
            if (head.length == 0 || Decoders.nonfinite(head) > 0) {
                throw new Refusal("samples must be finite and at least one");
            }
            head = new Resampler(sound.rate, spec.audio.sampleRate).resample(bounded(head));
        }
        write(mel.clip(head));
    }

    /** Fills {@link #tensor} with the next window of live sound; see {@link Mel#next}. */
    public void next(float[] samples, int hops) {
        write(mel.next(samples, hops));
    }

    private static float[] bounded(float[] samples) {
        float peak = 0;
        for (float value : samples) {
            peak = Math.max(peak, Math.abs(value));
        }
        if (!(peak > LOUDEST)) {
            return samples;
        }
        float[] small = new float[samples.length];
        for (int i = 0; i < small.length; i++) {
            small[i] = samples[i] / peak;
        }
        return small;
    }

    private void write(float[] levels) {
        float[] values = spec.audio.normalise.equals("zscore") ? zscore(levels) : legacy(levels);
        int channels = spec.channels();
        int plane = spec.height() * spec.width();
        for (int c = 0; c < channels; c++) {
            float mean = (float) spec.mean[c];
            float std = (float) spec.std[c];
            int to = spec.channelsFirst() ? c * plane : c;
            int step = spec.channelsFirst() ? 1 : channels;
            for (int i = 0; i < plane; i++, to += step) {
                tensor[to] = (values[i] - mean) / std;
            }
        }
    }

    /** Resized first: a z-score is the same after it, and there are fewer cells. */
    private float[] zscore(float[] levels) {
        Resize.turnedMap(levels, spec.audio.mels, mel.frames(), spec.height(), spec.width(), map);
        double mean = mel.mean();
        double share = 1 / (mel.deviation() + ZSCORE_EPSILON);
        for (int i = 0; i < map.length; i++) {
            map[i] = (float) ((map[i] - mean) * share);
        }
        return map;
    }

    private float[] legacy(float[] turned) {
        int mels = spec.audio.mels;
        int frames = mel.frames();
        float low = turned[0];
        float high = turned[0];
        for (float value : turned) {
            low = Math.min(low, value);
            high = Math.max(high, value);
        }
        byte[] levels = new byte[turned.length];
        if (high > low) {
            for (int i = 0; i < levels.length; i++) {
                levels[i % mels * frames + i / mels] = (byte) (int) ((turned[i] - low) / (high - low) * 255.0f);
            }
        }
        byte[] small = Resize.antialiased(levels, mels, frames, spec.height(), spec.width());
        for (int i = 0; i < map.length; i++) {
            map[i] = (float) ((small[i] & 255) / 255.0);
        }
        return map;
    }
}
