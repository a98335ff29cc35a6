// Limbs: pairs of joints that an affinity field connects, by the rules of runtime/limbs.py.

import { clamp, rint } from "./rounding.js";
import { LIMBS } from "./skeleton.js";

const EPSILON = 1e-6;
const f = Math.fround;

// pafs: Float32Array (38, height, width), finite. peaks: by part, [{ x, y, id }].
// Returns by limb its connections [{ start, end, affinity }], one to one, best first.
export function matchLimbs(pafs, height, width, peaks, params) {
  const cells = peaks.map((part) => part.map((joint) => cellOf(joint, height, width, params.upsample)));
  const needed = leastPoints(params.points, params.min_ratio);
  return LIMBS.map(([startPart, endPart, channelX, channelY]) => {
    const planes = [channelX, channelY].map((channel) => channel * height * width);
    const pairs = [];
    peaks[endPart].forEach((end, e) => {
      peaks[startPart].forEach((start, s) => {
        const pair = score(pafs, width, planes, start, end, cells[startPart][s], cells[endPart][e], needed, params);
        if (pair) pairs.push({ start: start.id, end: end.id, ...pair });
      });
    });
    pairs.sort((a, b) => b.affinity - a.affinity || a.length - b.length);
    const [starts, ends] = [new Set(), new Set()];
    return pairs.filter(({ start, end }) => {
      if (starts.has(start) || ends.has(end)) return false;
      starts.add(start);
      ends.add(end);
      return true;
    });
  });
}

// Fewest of so many points whose share exceeds the ratio.
function leastPoints(points, ratio) {
  let count = 0;
  while (count <= points && !(count / points > ratio)) count++;
  return count;
}

// An enlarged pixel in cells, not beyond the centres of the outermost ones.
function cellOf({ x, y }, height, width, upsample) {
  const [scale, shift] = [f(1 / upsample), f(0.5 / upsample - 0.5)];
  return {
    x: clamp(f(f(f(x) * scale) + shift), 0, width - 1),
    y: clamp(f(f(f(y) * scale) + shift), 0, height - 1),
  };
}

// The mean of the field along the line from start to end; null where too few points of it count.
function score(pafs, width, planes, start, end, from, to, needed, { points, upsample, paf_threshold: threshold }) {
  const dx = f(f(end.x) - f(start.x));
  const dy = f(f(end.y) - f(start.y));
  const length = f(f(dx * dx) + f(dy * dy));
  const norm = f(f(Math.sqrt(length)) + f(EPSILON));
  const [unitX, unitY] = [f(dx / norm), f(dy / norm)];
  const part = f(1 / (points - 1));
  const [stepX, stepY] = [f(f(to.x - from.x) * part), f(f(to.y - from.y) * part)];
  let [count, sum] = [0, 0];
  for (let point = 0; point < points; point++) {
    let x = f(f(stepX * point) + from.x);
    let y = f(f(stepY * point) + from.y);
    if (upsample === 1) [x, y] = [rint(x), rint(y)];
    const along = f(f(read(pafs, planes[0], width, x, y) * unitX) + f(read(pafs, planes[1], width, x, y) * unitY));
    if (along > f(threshold)) {
      count++;
      sum = f(sum + along);
    }
    if (count + points - 1 - point < needed) return null;
  }
  const affinity = sum / (count + EPSILON);
  return affinity > 0 ? { affinity, length } : null;
}

// A plane between its cells, bilinearly; what lies beyond the last row or column weighs nothing.
function read(pafs, plane, width, x, y) {
  const [column, row] = [Math.floor(x), Math.floor(y)];
  const [right, down] = [f(x - column), f(y - row)];
  const place = plane + row * width + column;
  const at = (index) => (index < pafs.length ? pafs[index] : 0);
  const upper = f(at(place) + f(right * f(at(place + 1) - at(place))));
  const lower = f(at(place + width) + f(right * f(at(place + width + 1) - at(place + width))));
  return f(upper + f(down * f(lower - upper)));
}
