// Greedy non-maximum suppression as runtime/nms.py has it, with inclusive corners and float32 overlaps.

const f = Math.fround;

// boxes: Float32Array of (x1, y1, x2, y2). Returns { kept: indices by descending score, truncated }.
export function nms(boxes, scores, threshold, preNms, keep) {
  let order = Array.from(scores.keys()).filter((i) => {
    const at = 4 * i;
    return Number.isFinite(scores[i] + boxes[at] + boxes[at + 1] + boxes[at + 2] + boxes[at + 3]);
  });
  order.sort((a, b) => scores[b] - scores[a]); // stable: of equal scores the earlier box is the better one
  let truncated = order.length > preNms;
  order = order.slice(0, preNms);
  const limit = f(threshold);
  const area = (i) => f(side(boxes[4 * i], boxes[4 * i + 2]) * side(boxes[4 * i + 1], boxes[4 * i + 3]));
  const areas = new Float32Array(scores.length);
  for (const i of order) areas[i] = area(i);
  const kept = [];
  for (const i of order) {
    if (kept.every((best) => overlap(boxes, areas, best, i) <= limit)) kept.push(i);
    if (kept.length > keep) break;
  }
  truncated ||= kept.length > keep;
  return { kept: kept.slice(0, keep), truncated };
}

const side = (low, high) => f(f(high - low) + 1);

function overlap(boxes, areas, best, other) {
  const [a, b] = [4 * best, 4 * other];
  const width = side(Math.max(boxes[a], boxes[b]), Math.min(boxes[a + 2], boxes[b + 2]));
  const height = side(Math.max(boxes[a + 1], boxes[b + 1]), Math.min(boxes[a + 3], boxes[b + 3]));
  const shared = f(Math.max(width, 0) * Math.max(height, 0));
  return f(shared / f(f(areas[best] + areas[other]) - shared)); // of two without area NaN, which covers
}
