package edge.vision.core;

/** Mono samples, finite, -1..1 at full scale; and their rate in Hz. */
public final class Sound {
    public final float[] samples;
    public final int rate;

    public Sound(float[] samples, int rate) {
        this.samples = samples;
        this.rate = rate;
    }
}
