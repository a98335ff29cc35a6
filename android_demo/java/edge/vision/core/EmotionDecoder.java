package edge.vision.core;

/** The emotion decoder of {@code runtime/emotion.py}: two numbers to valence and arousal. */
final class EmotionDecoder implements Decoder {
    private final int output;

    EmotionDecoder(Card card) {
        card.decoderParams().done();
        int found = -1;
        int count = 0;
        for (int i = 0; i < card.outputs.size(); i++) {
            if (card.outputs.get(i).size() == 2) {
                found = i;
                count++;
            }
        }
        if (count != 1) {
            throw new Refusal("emotion decoder needs one output", "(1, 2)", count + " of two numbers");
        }
        output = found;
    }

    @Override
    public Result decode(float[][] outputs, Geometry geometry, double threshold) {
        float[] values = outputs[output];
        int nonfinite = Decoders.nonfinite(values);
        return Result.ofEmotion(nonfinite > 0 ? null : new Result.Emotion(values[0], values[1]), nonfinite);
    }
}
