// The face decoder of runtime/face.py: offsets from prior boxes to boxes and landmarks.

import { inputHw } from "./preprocess.js";
import { nms } from "./nms.js";
import { clamp } from "./rounding.js";
import { Refusal } from "./server.js";

const DEFAULTS = {
  min_sizes: [[16, 32], [64, 128], [256, 512]],
  strides: [8, 16, 32],
  variances: [0.1, 0.2],
  score_threshold: 0.02,
  nms_iou: 0.4,
  pre_nms: 5000,
  keep: 750,
  display_threshold: 0.5,
};
const MAX_LOG_SIZE = 20;
const MAX_OFFSET = 1e9;
const f = Math.fround;

// Returns a function from outputs and geometry to { kind, faces, truncated }.
export function faceDecoder(card) {
  const params = { ...DEFAULTS, ...card.decoder.params };
  const [height, width] = inputHw(card.input);
  const anchors = priors(height, width, params);
  const [loc, conf, landm] = [4, 2, 10].map((size) => head(card, size, anchors.length / 4));
  return (outputs, geometry) => {
    const heads = [outputs[loc], outputs[conf], outputs[landm]];
    return decodeFaces(heads, anchors, [height, width], params, geometry);
  };
}

function head(card, size, count) {
  const found = card.outputs.filter(({ shape }) => shape.length === 3 && shape[0] === 1 && shape[2] === size);
  if (found.length !== 1 || found[0].shape[1] !== count) {
    throw new Refusal(`face decoder needs one output (1, ${count}, ${size})`, 2);
  }
  return found[0].name;
}

function priors(height, width, { min_sizes: minSizes, strides }) {
  const values = [];
  strides.forEach((stride, level) => {
    for (let row = 0; row < Math.ceil(height / stride); row++) {
      for (let column = 0; column < Math.ceil(width / stride); column++) {
        for (const size of minSizes[level]) {
          values.push(((column + 0.5) * stride) / width, ((row + 0.5) * stride) / height, size / width, size / height);
        }
      }
    }
  });
  return Float32Array.from(values);
}

function decodeFaces([loc, conf, landm], anchors, [height, width], params, geometry) {
  const [scaleX, scaleY] = geometry ? geometry.scaleXy.map(f) : [1, 1];
  const least = f(params.score_threshold);
  const lowest = params.display_threshold;
  let candidates = [];
  for (let i = 0; 2 * i < conf.length; i++) if (conf[2 * i + 1] > least) candidates.push(i);
  if (lowest > params.score_threshold && candidates.length <= Math.min(params.pre_nms, params.keep)) {
    candidates = candidates.filter((i) => conf[2 * i + 1] >= lowest); // worse boxes suppress nobody
  }
  candidates = candidates.filter((i) => finite(loc, 4, i) && finite(conf, 2, i) && finite(landm, 10, i));
  const boxes = new Float32Array(4 * candidates.length);
  const scores = Float32Array.from(candidates, (i) => conf[2 * i + 1]);
  candidates.forEach((i, place) => corners(loc, anchors, i, params.variances, boxes, 4 * place));
  for (let at = 0; at < boxes.length; at += 2) {
    boxes[at] = f(f(boxes[at] * width) / scaleX);
    boxes[at + 1] = f(f(boxes[at + 1] * height) / scaleY);
  }
  const { kept, truncated } = nms(boxes, scores, params.nms_iou, params.pre_nms, params.keep);
  const faces = [];
  for (const place of kept) {
    if (scores[place] < lowest) continue;
    const i = candidates[place];
    const landmarks = [];
    for (let point = 0; point < 5; point++) {
      const x = along(landm[10 * i + 2 * point], anchors[4 * i], anchors[4 * i + 2], params.variances[0]);
      const y = along(landm[10 * i + 2 * point + 1], anchors[4 * i + 1], anchors[4 * i + 3], params.variances[0]);
      landmarks.push([f(f(x * width) / scaleX), f(f(y * height) / scaleY)]);
    }
    faces.push({ box: Array.from(boxes.subarray(4 * place, 4 * place + 4)), score: scores[place], landmarks });
  }
  return { kind: "faces", faces, truncated };
}

function corners(loc, anchors, i, variances, boxes, at) {
  for (let axis = 0; axis < 2; axis++) {
    const [centre, extent] = [anchors[4 * i + axis], anchors[4 * i + 2 + axis]];
    const growth = f(clamp(loc[4 * i + 2 + axis], -MAX_OFFSET, MAX_OFFSET) * f(variances[1]));
    const size = f(extent * f(Math.exp(Math.min(growth, MAX_LOG_SIZE))));
    const low = f(along(loc[4 * i + axis], centre, extent, variances[0]) - f(size / 2));
    boxes[at + axis] = low;
    boxes[at + 2 + axis] = f(low + size);
  }
}

function along(offset, centre, extent, variance) {
  return f(f(f(clamp(offset, -MAX_OFFSET, MAX_OFFSET) * f(variance)) * extent) + centre);
}

function finite(values, size, i) {
  for (let at = size * i; at < size * (i + 1); at++) if (!Number.isFinite(values[at])) return false;
  return true;
}
