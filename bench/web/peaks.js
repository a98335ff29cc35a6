// Body joints as maxima of heatmaps, found on the small maps and refined below a cell: the rules of runtime/peaks.py.

import { cubic } from "./resize.js";
import { clamp } from "./rounding.js";

const MAX_PEAKS = 256;
const MAX_CANDIDATES = 8 * MAX_PEAKS;
const OVERSHOOT = 1.375 ** 2; // what the bicubic surface can rise above its cells
const TINY = 1e-9;
const FLAT = 1e-5; // of its height that a peak must fall to a neighbour
const f = Math.fround;

// maps: Float32Array (parts, height, width), finite. content: [rows, columns] of the enlarged map that are searched.
// Returns { peaks: by part, each [{ x, y, value }] by x and y in enlarged pixels, truncated }.
export function findPeaks(maps, parts, height, width, threshold, radius, factor, content) {
  const patch = factor > 1 ? patchOf(factor) : null;
  const rows = Math.ceil(content[0] / factor);
  const columns = Math.ceil(content[1] / factor);
  let truncated = false;
  const peaks = [];
  for (let part = 0; part < parts; part++) {
    const map = maps.subarray(part * height * width, (part + 1) * height * width);
    let found = candidates(map, width, rows, columns, threshold, factor === 1);
    if (found.length > MAX_CANDIDATES) [found, truncated] = [highest(found, MAX_CANDIDATES), true];
    if (patch) found = found.map((cell) => refine(map, height, width, cell, threshold, factor, content, patch));
    found = found.filter(Boolean).sort((a, b) => a.x - b.x || a.y - b.y);
    found = thin(found, radius, factor > 1);
    if (found.length > MAX_PEAKS) [found, truncated] = [highest(found, MAX_PEAKS), true];
    peaks.push(found);
  }
  return { peaks, truncated };
}

function candidates(map, width, rows, columns, threshold, exact) {
  const at = (y, x) => (y < 0 || x < 0 || y >= rows || x >= columns ? -Infinity : map[y * width + x]);
  const around = (y, x) => f(f(f(at(y - 1, x) + at(y, x - 1)) + at(y, x + 1)) + at(y + 1, x));
  const least = f(exact ? threshold : threshold / OVERSHOOT);
  const found = [];
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const value = map[y * width + x];
      if (!(value >= least)) continue;
      const near = [at(y - 1, x), at(y, x - 1), at(y, x + 1), at(y + 1, x)];
      if (near.some((other) => (exact ? other >= value : other > value))) continue;
      // Of equal neighbours the one with the higher surroundings counts, then the last by row and column.
      const own = around(y, x);
      const rivals = [[y - 1, x], [y, x - 1], [y, x + 1], [y + 1, x]];
      const loses = rivals.some(([row, column], i) => {
        if (near[i] !== value) return false;
        const theirs = around(row, column);
        return theirs > own || (theirs === own && i >= 2);
      });
      if (!loses) found.push({ x, y, value });
    }
  }
  return found;
}

// Where the bicubic surface around a cell has its highest top; null where it has none that is high enough.
function refine(map, height, width, cell, threshold, factor, [rows, columns], patch) {
  const { reach, side, first, line } = patch;
  const taps = 2 * reach + 1;
  const across = new Float64Array(taps * side); // (row of cells, column of pixels)
  for (let a = 0; a < taps; a++) {
    const row = clamp(cell.y + a - reach, 0, height - 1) * width;
    for (let b = 0; b < taps; b++) {
      const value = map[row + clamp(cell.x + b - reach, 0, width - 1)];
      for (let c = 0; c < side; c++) across[a * side + c] += value * line[b * side + c];
    }
  }
  const left = cell.x * factor + first;
  const top = cell.y * factor + first;
  const surface = new Float32Array(side * side);
  for (let r = 0; r < side; r++) {
    if (top + r < 0 || top + r >= rows) continue; // outside the picture it is zero
    for (let c = 0; c < side; c++) {
      if (left + c < 0 || left + c >= columns) continue;
      let sum = 0;
      for (let a = 0; a < taps; a++) sum += across[a * side + c] * line[a * side + r];
      surface[r * side + c] = sum;
    }
  }
  let place = -1;
  const least = f(threshold);
  for (let r = 1; r < side - 1; r++) {
    for (let p = r * side + 1; p < (r + 1) * side - 1; p++) {
      const value = surface[p];
      if (!(value >= least) || (place >= 0 && value < surface[place])) continue;
      if (value > surface[p - 1] && value > surface[p - side] && value >= surface[p + 1] && value >= surface[p + side]) {
        place = p;
      }
    }
  }
  if (place < 0) return null;
  const x = shifted(surface, place, 1, left + (place % side), columns);
  const y = shifted(surface, place, side, top + Math.floor(place / side), rows);
  return x === null || y === null ? null : { x, y, value: surface[place] };
}

// The place of a parabola's top through three pixels of a line; null where the surface is level.
function shifted(surface, place, step, pixel, size) {
  const value = surface[place];
  const [before, after] = [surface[place - step], surface[place + step]];
  const inside = pixel > 0 && pixel < size - 1; // at the picture's rim the surface has no other side
  const lower = inside ? Math.min(before, after) : Math.max(before, after);
  if (!(f(value - lower) > f(f(FLAT) * value))) return null;
  return inside ? pixel + (0.5 * (after - before)) / Math.max(2 * value - before - after, TINY) : pixel;
}

// Of joints closer than the radius the higher one stays; without refinement the left one.
function thin(found, radius, byHeight) {
  const reach = Math.max(radius, 1e-3); // two candidates may have climbed to one top
  const order = Array.from(found.keys());
  if (byHeight) order.sort((a, b) => found[b].value - found[a].value);
  const stays = new Set();
  for (const i of order) {
    const { x, y } = found[i];
    let free = true;
    for (const j of stays) free &&= (x - found[j].x) ** 2 + (y - found[j].y) ** 2 >= reach * reach;
    if (free) stays.add(i);
  }
  return found.filter((_, i) => stays.has(i));
}

function highest(found, count) {
  const order = Array.from(found.keys()).sort((a, b) => found[b].value - found[a].value);
  const chosen = new Set(order.slice(0, count));
  return found.filter((_, i) => chosen.has(i));
}

// Weights of the surface near a cell: (2 * reach + 1) cells either way, side pixels, the first one `first` pixels off.
function patchOf(factor) {
  const reach = factor >= 4 ? 2 : 3;
  const pixels = [];
  for (let pixel = -reach * factor; pixel < (reach + 1) * factor; pixel++) {
    if (Math.abs((pixel + 0.5) / factor - 0.5) < reach - 1.1) pixels.push(pixel);
  }
  const side = pixels.length;
  const line = new Float64Array((2 * reach + 1) * side);
  for (let tap = -reach; tap <= reach; tap++) {
    pixels.forEach((pixel, i) => {
      line[(tap + reach) * side + i] = cubic(Math.abs((pixel + 0.5) / factor - 0.5 - tap));
    });
  }
  return { reach, side, first: pixels[0], line };
}
