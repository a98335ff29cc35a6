// Resizing of pictures as runtime/resize.py does it: half-pixel centres, border repeated, no antialias.
// Bilinear repeats OpenCV's fixed-point arithmetic; bicubic is Keys' with a = -0.75, in float32.

import { clamp, rint } from "./rounding.js";

const ONE = 2048; // a weight of 1 in OpenCV's fixed point
const CUBIC_A = -0.75;
const f = Math.fround;

// Weight that bicubic interpolation gives to an input at a distance, in input pixels.
export function cubic(x) {
  if (x <= 1) return ((CUBIC_A + 2) * x - (CUBIC_A + 3)) * x * x + 1;
  return x < 2 ? ((CUBIC_A * x - 5 * CUBIC_A) * x + 8 * CUBIC_A) * x - 4 * CUBIC_A : 0;
}

// pixels: RGBA bytes, height x width. Returns RGB bytes, h x w.
export function resize(pixels, height, width, h, w, interpolation) {
  if (height === h && width === w) return copied(pixels, h * w);
  return (interpolation === "bicubic" ? bicubic : bilinear)(pixels, height, width, h, w);
}

function copied(pixels, count) {
  const out = new Uint8Array(3 * count);
  for (let i = 0, from = 0, to = 0; i < count; i++, from += 4, to += 3) {
    out[to] = pixels[from];
    out[to + 1] = pixels[from + 1];
    out[to + 2] = pixels[from + 2];
  }
  return out;
}

function bilinear(pixels, height, width, h, w) {
  const down = fixedTaps(height, h);
  const across = fixedTaps(width, w);
  const rows = [new Int32Array(3 * w), new Int32Array(3 * w)];
  const held = [-1, -1];
  const out = new Uint8Array(3 * h * w);
  const blend = (row) => {
    // The sums of one input row, kept until two others are needed: rows of the result mostly share one.
    let slot = held.indexOf(row);
    if (slot >= 0) return rows[slot];
    slot = held[0] < held[1] ? 0 : 1;
    held[slot] = row;
    const sums = rows[slot];
    const line = row * width * 4;
    for (let x = 0, to = 0; x < w; x++, to += 3) {
      const left = line + 4 * across.first[x];
      const right = line + 4 * across.second[x];
      const a = across.weight[2 * x];
      const b = across.weight[2 * x + 1];
      sums[to] = (pixels[left] * a + pixels[right] * b) >> 4;
      sums[to + 1] = (pixels[left + 1] * a + pixels[right + 1] * b) >> 4;
      sums[to + 2] = (pixels[left + 2] * a + pixels[right + 2] * b) >> 4;
    }
    return sums;
  };
  for (let y = 0, to = 0; y < h; y++) {
    const upper = blend(down.first[y]);
    const lower = blend(down.second[y]);
    const a = down.weight[2 * y];
    const b = down.weight[2 * y + 1];
    for (let i = 0; i < 3 * w; i++, to++) out[to] = (((upper[i] * a) >> 16) + ((lower[i] * b) >> 16) + 2) >> 2;
  }
  return out;
}

// Positions are rounded to float32, weights to 11 bits, half to even.
function fixedTaps(sizeIn, sizeOut) {
  const first = new Int32Array(sizeOut);
  const second = new Int32Array(sizeOut);
  const weight = new Int32Array(2 * sizeOut);
  const step = 1 / (sizeOut / sizeIn);
  for (let i = 0; i < sizeOut; i++) {
    const centre = f((i + 0.5) * step - 0.5);
    const base = Math.floor(centre);
    const part = f(centre - base);
    first[i] = clamp(base, 0, sizeIn - 1);
    second[i] = clamp(base + 1, 0, sizeIn - 1);
    weight[2 * i] = rint(f(f(1 - part) * ONE));
    weight[2 * i + 1] = rint(f(part * ONE));
  }
  return { first, second, weight };
}

function bicubic(pixels, height, width, h, w) {
  const down = cubicTaps(height, h);
  const across = cubicTaps(width, w);
  const line = new Float32Array(3 * width);
  const out = new Uint8Array(3 * h * w);
  for (let y = 0, to = 0; y < h; y++) {
    const [r0, r1, r2, r3] = [0, 1, 2, 3].map((tap) => down.index[4 * y + tap] * width * 4);
    const [a, b, c, d] = down.weight.subarray(4 * y, 4 * y + 4);
    for (let x = 0, at = 0; x < width; x++) {
      for (let channel = 0, from = 4 * x; channel < 3; channel++, from++, at++) {
        const sum = f(f(pixels[r0 + from] * a) + f(pixels[r1 + from] * b));
        line[at] = f(f(sum + f(pixels[r2 + from] * c)) + f(pixels[r3 + from] * d));
      }
    }
    for (let x = 0; x < w; x++) {
      const i0 = 3 * across.index[4 * x];
      const i1 = 3 * across.index[4 * x + 1];
      const i2 = 3 * across.index[4 * x + 2];
      const i3 = 3 * across.index[4 * x + 3];
      const wa = across.weight[4 * x];
      const wb = across.weight[4 * x + 1];
      const wc = across.weight[4 * x + 2];
      const wd = across.weight[4 * x + 3];
      for (let channel = 0; channel < 3; channel++, to++) {
        const sum = f(f(line[i0 + channel] * wa) + f(line[i1 + channel] * wb));
        const value = f(f(sum + f(line[i2 + channel] * wc)) + f(line[i3 + channel] * wd));
        out[to] = clamp(rint(value), 0, 255);
      }
    }
  }
  return out;
}

function cubicTaps(sizeIn, sizeOut) {
  const index = new Int32Array(4 * sizeOut);
  const weight = new Float32Array(4 * sizeOut);
  for (let i = 0; i < sizeOut; i++) {
    const centre = (i + 0.5) * (sizeIn / sizeOut) - 0.5;
    const base = Math.floor(centre);
    const part = centre - base;
    for (let tap = 0; tap < 4; tap++) {
      index[4 * i + tap] = clamp(base + tap - 1, 0, sizeIn - 1);
      weight[4 * i + tap] = cubic(Math.abs(part - (tap - 1)));
    }
  }
  return { index, weight };
}
