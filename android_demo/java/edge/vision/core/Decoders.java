package edge.vision.core;

/** The decoder that a card names. */
public final class Decoders {
    private Decoders() {}

    /** Returns the card's decoder with its constants read and checked. */
    public static Decoder of(Card card) {
        final Decoder decoder = named(card);
        return (outputs, geometry, threshold) -> {
            check(card, outputs);
            return decoder.decode(outputs, geometry, threshold);
        };
    }

    private static Decoder named(Card card) {
        switch (card.decoder) {
            case "openpose-paf":
                return new PoseDecoder(card);
            case "face-priors":
                return new FaceDecoder(card);
            case "valence-arousal":
                return new EmotionDecoder(card);
            case "none":
                card.decoderParams().done();
                return (outputs, geometry, threshold) -> Result.raw(nonfinite(outputs));
            default:
                throw new Refusal(
                        "decoder `" + card.decoder + "` is not known",
                        "face-priors | none | openpose-paf | valence-arousal",
                        card.decoder);
        }
    }

    private static void check(Card card, float[][] outputs) {
        if (outputs.length != card.outputs.size()) {
            throw new Refusal("wrong number of outputs", card.outputs.size(), outputs.length);
        }
        for (int i = 0; i < outputs.length; i++) {
            Card.Output spec = card.outputs.get(i);
            if (outputs[i].length != spec.size()) {
                throw new Refusal(
                        "output `" + spec.name + "` has the wrong size", spec.size(), outputs[i].length);
            }
        }
    }

    static int nonfinite(float[]... arrays) {
        int count = 0;
        for (float[] array : arrays) {
            for (float value : array) {
                // The difference of a finite number to itself is 0, of all others NaN.
                count += value - value == 0 ? 0 : 1;
            }
        }
        return count;
    }
}
