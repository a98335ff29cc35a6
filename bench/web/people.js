// The pose decoder: heatmaps and affinity fields to people, by the rules of runtime/paf.py and runtime/people.py.

import { matchLimbs } from "./limbs.js";
import { findPeaks } from "./peaks.js";
import { rint } from "./rounding.js";
import { Refusal } from "./server.js";
import { FILL_ONLY, JOINTS, LIMBS } from "./skeleton.js";

const DEFAULTS = {
  stride: 8,
  upsample: 8,
  threshold: 0.1,
  nms_radius: 6,
  paf_threshold: 0.05,
  points: 10,
  min_ratio: 0.8,
  min_keypoints: 3,
  min_score: 0.2,
};
const MAX_MAP = 1e6;
const ABSENT = -1;

// Returns a function from outputs and geometry to { kind, people, truncated }.
export function peopleDecoder(card) {
  const params = { ...DEFAULTS, ...card.decoder.params };
  const heat = lastMaps(card, JOINTS + 1);
  const field = lastMaps(card, 2 * LIMBS.length);
  const [height, width] = heat.hw;
  const cell = params.stride / params.upsample; // input pixels an enlarged pixel
  return (outputs, geometry) => {
    const heatmaps = planes(outputs[heat.name], heat).subarray(0, JOINTS * height * width);
    const pafs = planes(outputs[field.name], field);
    const content = geometry
      ? geometry.contentHw.map((side) => Math.max(rint(side / cell), 1))
      : [height * params.upsample, width * params.upsample];
    const [scaleX, scaleY] = geometry ? geometry.scaleXy : [1, 1];
    const { threshold, nms_radius: radius, upsample } = params;
    const { peaks, truncated } = findPeaks(heatmaps, JOINTS, height, width, threshold, radius, upsample, content);
    const joints = peaks.flat();
    joints.forEach((joint, id) => Object.assign(joint, { id }));
    const limbs = matchLimbs(pafs, height, width, peaks, params);
    const people = assemble(limbs, joints, params).map((entry) => ({
      score: entry.score * Math.max(0, entry.count - 1),
      keypoints: entry.joints.map((id) => {
        if (id === ABSENT) return null;
        const { x, y, value } = joints[id];
        return [((x + 0.5) * cell) / scaleX, ((y + 0.5) * cell) / scaleY, value];
      }),
    }));
    people.sort((a, b) => b.score - a.score);
    return { kind: "people", people, truncated };
  };
}

// The last output with that many channels: a network with stages puts its best one last.
function lastMaps(card, channels) {
  for (const { name, shape, layout } of card.outputs.toReversed()) {
    if (shape.length !== 4 || shape[0] !== 1) continue;
    if (layout !== "NHWC" && shape[1] === channels) return { name, channels, hw: shape.slice(2), nhwc: false };
    if (layout !== "NCHW" && shape[3] === channels) return { name, channels, hw: shape.slice(1, 3), nhwc: true };
  }
  throw new Refusal(`pose decoder finds no output with ${channels} channels`, 2);
}

// (channels, height, width) of an output, finite: zero is "no joint, no limb".
function planes(values, { channels, hw, nhwc }) {
  const area = hw[0] * hw[1];
  let result = values;
  if (nhwc) {
    result = new Float32Array(values.length);
    for (let channel = 0; channel < channels; channel++) {
      const to = channel * area;
      for (let i = 0, from = channel; i < area; i++, from += channels) result[to + i] = values[from];
    }
  }
  let energy = 0;
  for (let i = 0; i < result.length; i++) energy += result[i] * result[i];
  if (energy <= MAX_MAP ** 2) return result;
  return result.map((value) => (Number.isFinite(value) ? Math.min(Math.max(value, -MAX_MAP), MAX_MAP) : 0));
}

// People put together limb by limb: whoever holds the start joint gets the end joint; nobody does: a new person.
function assemble(limbs, joints, { min_keypoints: leastJoints, min_score: leastScore }) {
  const entries = [];
  const holders = joints.map(() => []);
  const give = (entry, part, id) => {
    const before = entry.joints[part];
    if (before !== ABSENT) holders[before].splice(holders[before].indexOf(entry), 1);
    entry.joints[part] = id;
    holders[id].push(entry);
  };
  LIMBS.forEach(([startPart, endPart], number) => {
    for (const { start, end, affinity } of limbs[number]) {
      if (FILL_ONLY.has(number)) {
        const atEnd = [...holders[end]];
        for (const entry of [...holders[start]]) if (entry.joints[endPart] === ABSENT) give(entry, endPart, end);
        for (const entry of atEnd) if (entry.joints[startPart] === ABSENT) give(entry, startPart, start);
        continue;
      }
      const gain = joints[end].value + affinity;
      for (const entry of holders[start]) {
        if (entry.joints[endPart] !== end) give(entry, endPart, end);
        entry.score += gain;
        entry.count++;
      }
      if (holders[start].length) continue;
      const entry = { joints: Array(JOINTS).fill(ABSENT), score: joints[start].value + gain, count: 2 };
      entry.joints[startPart] = start;
      entry.joints[endPart] = end;
      holders[start].push(entry);
      holders[end].push(entry);
      entries.push(entry);
    }
  });
  return entries.filter(({ count, score }) => count >= leastJoints && score / count >= leastScore);
}
