// The emotion decoder of runtime/emotion.py: two numbers to valence, arousal and a quadrant.

import { clamp } from "./rounding.js";
import { Refusal } from "./server.js";

export function emotionDecoder(card) {
  const found = card.outputs.filter(({ shape }) => shape.reduce((a, b) => a * b, 1) === 2);
  if (found.length !== 1) throw new Refusal("emotion decoder needs one output of two numbers", 2);
  const { name } = found[0];
  return (outputs) => {
    const [valence, arousal] = outputs[name];
    if (!Number.isFinite(valence + arousal)) return { kind: "emotion", emotion: null };
    return { kind: "emotion", emotion: emotion(clamp(valence, -1, 1), clamp(arousal, -1, 1)) };
  };
}

function emotion(valence, arousal) {
  const names = arousal >= 0 ? ["excited", "tense"] : ["calm", "sad"];
  return { valence, arousal, quadrant: names[valence >= 0 ? 0 : 1] };
}
