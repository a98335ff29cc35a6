package edge.vision.core;

/**
 * Exponential smoothing of one stream of emotions that may come at irregular times: what lies a half-life back counts
 * half as much as what is new. As {@code runtime/emotion.py}; one instance serves one stream and one thread.
 */
public final class Smoother {
    private final double halfLife;
    private double last;
    private Result.Emotion smooth;

    /** The half-life is in seconds, at least 0; 0 smooths nothing. */
    public Smoother(double halfLife) {
        if (!(halfLife >= 0) || Double.isInfinite(halfLife)) {
            throw new Refusal("half-life must be finite and not negative", "0 or more", halfLife + " s");
        }
        this.halfLife = halfLife;
    }

    /** Returns the smoothed emotion; the time is in seconds from any origin, not before the last one. */
    public Result.Emotion add(Result.Emotion emotion, double time) {
        if (Double.isNaN(time) || Double.isInfinite(time) || smooth != null && time < last) {
            throw new Refusal("time must be finite and not run backwards", "at least " + last + " s", time + " s");
        }
        if (smooth == null) {
            smooth = emotion;
        } else {
            double weight = halfLife > 0 ? Math.pow(0.5, (time - last) / halfLife) : 0;
            smooth = new Result.Emotion(
                    between(smooth.valence, emotion.valence, weight), between(smooth.arousal, emotion.arousal, weight));
        }
        last = time;
        return smooth;
    }

    private static double between(double old, double fresh, double oldWeight) {
        double value = oldWeight * old + (1 - oldWeight) * fresh;
        return Math.max(Math.min(old, fresh), Math.min(Math.max(old, fresh), value)); // rounding must not carry it beyond
    }
}
