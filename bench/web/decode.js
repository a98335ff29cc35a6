// The decoder that a card names.

import { emotionDecoder } from "./emotion.js";
import { faceDecoder } from "./face.js";
import { peopleDecoder } from "./people.js";
import { Refusal } from "./server.js";

const DECODERS = {
  "face-priors": faceDecoder,
  "openpose-paf": peopleDecoder,
  "valence-arousal": emotionDecoder,
  none: () => () => ({ kind: "raw" }),
};

export function decoder(card) {
  if (!Object.hasOwn(DECODERS, card.decoder.name)) {
    throw new Refusal(`the page has no decoder ${card.decoder.name}`, 2);
  }
  return DECODERS[card.decoder.name](card);
}
