package edge.vision.core;

import java.util.Arrays;

/**
 * The last seconds of a live sound at the card's rate, moved on by whole hops so that spectrogram frames are kept. One
 * thread adds and reads.
 */
public final class LiveSound {
    private static final int MARGIN = 4096; // inputs kept beside a block, more than the low-pass reaches

    private final int hop;
    private final int inRate;
    private final int outRate;
    private final Resampler resampler;
    private final float[] window;
    private float[] pending = new float[0]; // at the card's rate, not yet a whole hop
    private float[] history; // at the microphone's rate, with what the filter still needs
    private int done; // of the history, inputs whose outputs are out
    private int newHops;

    public LiveSound(Card.Audio spec, int length, int rate) {
        hop = spec.hop;
        inRate = rate;
        outRate = spec.sampleRate;
        resampler = new Resampler(rate, outRate);
        window = new float[length];
        history = new float[0];
    }

    /** Adds what the microphone gave. */
    public void add(float[] samples, int count) {
        append(inRate == outRate ? Arrays.copyOf(samples, count) : resampled(samples, count));
    }

    /** Returns the window as of the last whole hop; not to be written to. */
    public float[] window() {
        return window;
    }

    /** Returns by how many hops the window has moved since this was asked last. */
    public int takeHops() {
        int hops = newHops;
        newHops = 0;
        return hops;
    }

    private void append(float[] fresh) {
        float[] all = Arrays.copyOf(pending, pending.length + fresh.length);
        System.arraycopy(fresh, 0, all, pending.length, fresh.length);
        int whole = all.length - all.length % hop;
        int used = Math.min(whole, window.length - window.length % hop);
        if (used > 0) {
            System.arraycopy(window, used, window, 0, window.length - used);
            System.arraycopy(all, whole - used, window, window.length - used, used);
            newHops += whole / hop;
        }
        pending = Arrays.copyOfRange(all, whole, all.length);
    }

    /** The outputs that no later input changes; inputs are dropped in units that leave the phases alone. */
    private float[] resampled(float[] samples, int count) {
        float[] all = Arrays.copyOf(history, history.length + count);
        System.arraycopy(samples, 0, all, history.length, count);
        int unit = inRate / gcd(inRate, outRate); // so many inputs give a whole number of outputs
        int ready = Math.max(done, (all.length - MARGIN) / unit * unit);
        float[] out = new float[0];
        if (ready > done) {
            float[] made = resampler.resample(all);
            out = Arrays.copyOfRange(made, outputs(done), outputs(ready));
        }
        int dropped = Math.max(0, (ready - MARGIN) / unit * unit);
        history = Arrays.copyOfRange(all, dropped, all.length);
        done = ready - dropped;
        return out;
    }

    private int outputs(int inputs) {
        return (int) ((long) inputs * outRate / inRate);
    }

    private static int gcd(int a, int b) {
        return b == 0 ? a : gcd(b, a % b);
    }
}
