// From a picture to the input tensor of a card, as runtime/preprocess.py does it.

import { resize } from "./resize.js";
import { quotient, rint } from "./rounding.js";
import { Refusal } from "./server.js";

const f = Math.fround;

// Height and width of the card's input, pixels.
export function inputHw(input) {
  return input.layout === "NCHW" ? [input.shape[2], input.shape[3]] : [input.shape[1], input.shape[2]];
}

// Returns a function from RGBA bytes (height x width) to { tensor, geometry }.
export function preparer(input) {
  const [inHeight, inWidth] = inputHw(input);
  const nchw = input.layout === "NCHW";
  const channels = nchw ? input.shape[1] : input.shape[3];
  const fill = input.resize.fill;
  // Every pixel value of a channel becomes one of 256 numbers.
  const tables = [];
  const padding = [];
  for (let c = 0; c < channels; c++) {
    const [mean, std] = [f(input.mean[c]), f(input.std[c])];
    const scaled = (value) => f(f(f(value) - mean) / std);
    tables.push(Float32Array.from({ length: 256 }, (_, value) => scaled(value)));
    padding.push(scaled(fill[c % fill.length]));
  }
  const planeStep = nchw ? inHeight * inWidth : 1;
  const pixelStep = nchw ? 1 : channels;
  return (pixels, height, width) => {
    const [h, w] = fit([height, width], [inHeight, inWidth], input.resize);
    const small = resize(pixels, height, width, h, w, input.resize.interpolation);
    const tensor = new Float32Array(channels * inHeight * inWidth);
    for (let c = 0; c < channels; c++) {
      const table = tables[c];
      const source = input.colour === "BGR" ? 2 - c : c;
      for (let y = 0; y < inHeight; y++) {
        let to = c * planeStep + y * inWidth * pixelStep;
        let x = 0;
        if (y < h) {
          let from = 3 * y * w;
          for (; x < w; x++, from += 3, to += pixelStep) {
            tensor[to] = table[input.colour === "GRAY" ? luma(small, from) : small[from + source]];
          }
        }
        for (; x < inWidth; x++, to += pixelStep) tensor[to] = padding[c];
      }
    }
    const geometry = { originalHw: [height, width], contentHw: [h, w], scaleXy: [w / width, h / height] };
    return { tensor, geometry };
  };
}

// Height and width that a picture takes up in the input; sides are computed exactly.
export function fit([height, width], [inHeight, inWidth], rule) {
  if (rule.rule === "none") {
    if (height !== inHeight || width !== inWidth) throw new Refusal("this input takes pictures of one size only", 2);
    return [inHeight, inWidth];
  }
  if (rule.rule === "stretch") {
    return rule.upscale ? [inHeight, inWidth] : [Math.min(height, inHeight), Math.min(width, inWidth)];
  }
  let [above, below] = inHeight * width <= inWidth * height ? [inHeight, height] : [inWidth, width];
  if (!rule.upscale && above > below) [above, below] = [1, 1];
  const truncate = rule.rounding === "truncate";
  return [height, width].map((side) => Math.max(1, quotient(side * above, below, truncate)));
}

// ITU-R BT.601.
function luma(pixels, from) {
  const red = f(f(pixels[from] * f(0.299)) + f(pixels[from + 1] * f(0.587)));
  return rint(f(red + f(pixels[from + 2] * f(0.114))));
}
