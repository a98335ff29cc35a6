// What was found, drawn onto a canvas, in the colours of runtime/draw.py (Okabe and Ito, 2008).

import { LIMBS } from "./skeleton.js";

const [ORANGE, SKY, YELLOW, BLUE, VERMILLION] = ["#e69f00", "#56b4e9", "#f0e442", "#0072b2", "#d55e00"];
const [PURPLE, WHITE, INK, PAPER, GRID] = ["#cc79a7", "#ffffff", "#141418", "#fafaf7", "#d6d6d0"];
const LANDMARKS = [SKY, YELLOW, WHITE, PURPLE, ORANGE];
const PLANE = 720;
const LEAST_SIDE = 640; // a smaller picture is shown larger
const FONT = "sans-serif";

// picture: { pixels: RGBA bytes, height, width } or null.
export function draw(canvas, picture, result, caption) {
  const pen = canvas.getContext("2d");
  if (picture) {
    const zoom = Math.max(1, Math.ceil(LEAST_SIDE / Math.max(picture.width, picture.height)));
    canvas.width = picture.width * zoom;
    canvas.height = picture.height * zoom;
    const still = new OffscreenCanvas(picture.width, picture.height);
    const pixels = new Uint8ClampedArray(picture.pixels);
    still.getContext("2d").putImageData(new ImageData(pixels, picture.width, picture.height), 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(still, 0, 0, canvas.width, canvas.height);
    const unit = Math.max(1, Math.min(canvas.width, canvas.height) / 250); // width of a line
    for (const person of (result.people ?? []).toReversed()) drawPerson(pen, person, zoom, unit);
    const faces = (result.faces ?? []).toReversed();
    for (const face of faces) drawFace(pen, face, zoom, unit);
    for (const face of faces) drawScore(pen, face, zoom, unit);
  } else {
    canvas.width = canvas.height = PLANE;
    drawPlane(pen, result.emotion);
  }
  drawCaption(pen, canvas, caption);
}

function drawFace(pen, { box, landmarks }, zoom, unit) {
  const [x1, y1, x2, y2] = box.map((value) => value * zoom);
  const side = Math.min(x2 - x1, y2 - y1);
  const width = Math.max(1, Math.min(unit, side / 12));
  for (const [style, thick] of [[`${INK}96`, 1.9 * width], [SKY, width]]) {
    pen.strokeStyle = style;
    pen.lineWidth = thick;
    pen.beginPath();
    pen.roundRect(x1, y1, x2 - x1, y2 - y1, Math.min(3 * width, side / 4));
    pen.stroke();
  }
  if (side >= 18) {
    const radius = Math.max(0.8, Math.min(1.3 * width, side / 22));
    landmarks.forEach(([x, y], i) => dot(pen, x * zoom, y * zoom, radius, LANDMARKS[i]));
  }
}

// Above the box, or below one that touches the upper edge.
function drawScore(pen, { box, score }, zoom, unit) {
  const [x1, y1, x2, y2] = box.map((value) => value * zoom);
  const size = Math.max(9, Math.min(unit * 6, (x2 - x1) * 0.36));
  plate(pen, score.toFixed(2), Math.max(x1, 0), y1 - unit >= 1.5 * size ? y1 - unit - 1.5 * size : y2 + unit, size);
}

function drawPerson(pen, { keypoints }, zoom, unit) {
  const points = keypoints.map((point) => point && [point[0] * zoom, point[1] * zoom]);
  const found = points.filter(Boolean);
  const extent = [0, 1].map((axis) => {
    const values = found.map((point) => point[axis]);
    return Math.max(...values) - Math.min(...values);
  });
  const width = Math.min(Math.max(Math.hypot(...extent) / 45, unit * 0.9), unit * 2.8);
  pen.lineCap = "round";
  for (const extra of [1.7, 1]) {
    for (const [start, end] of LIMBS.slice(0, 17)) {
      if (!points[start] || !points[end]) continue;
      pen.strokeStyle = extra > 1 ? INK : limbColour(start, end);
      pen.lineWidth = width * extra * (start >= 14 || end >= 14 ? 0.7 : 1);
      pen.beginPath();
      pen.moveTo(...points[start]);
      pen.lineTo(...points[end]);
      pen.stroke();
    }
  }
  points.forEach((point, i) => {
    if (point) dot(pen, ...point, width * (i >= 14 || i === 0 ? 0.42 : 0.62), WHITE);
  });
}

// The person's right side warm, the left side cold, the head yellow.
function limbColour(start, end) {
  const ends = [start, end];
  if (ends.some((part) => part === 0 || part >= 14)) return YELLOW;
  const leg = end >= 8;
  const right = [2, 3, 4, 8, 9, 10].includes(end);
  if (right) return leg ? ORANGE : VERMILLION;
  return leg ? SKY : BLUE;
}

function dot(pen, x, y, radius, colour) {
  for (const [size, fill] of [[radius + Math.max(0.6, radius * 0.3), INK], [radius, colour]]) {
    pen.fillStyle = fill;
    pen.beginPath();
    pen.arc(x, y, size, 0, 2 * Math.PI);
    pen.fill();
  }
}

// A line of text on a dark plate with its upper left corner at (x, y).
function plate(pen, text, x, y, size) {
  pen.font = `${size}px ${FONT}`;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  const wide = pen.measureText(text).width + 0.5 * size;
  pen.fillStyle = `${INK}d7`;
  pen.beginPath();
  pen.roundRect(x, y, wide, 1.4 * size, 0.25 * size);
  pen.fill();
  pen.fillStyle = WHITE;
  pen.fillText(text, x + 0.25 * size, y + 0.72 * size);
}

function drawCaption(pen, canvas, text) {
  let size = Math.max(10, Math.min(canvas.width, canvas.height) / 36);
  pen.font = `${size}px ${FONT}`;
  size *= Math.min(1, (0.96 * canvas.width) / (pen.measureText(text).width + size));
  plate(pen, text, 0.01 * canvas.width, canvas.height - 1.4 * size - 0.01 * canvas.height, size);
}

// The valence-arousal plane with one point.
function drawPlane(pen, emotion) {
  const edge = 0.11 * PLANE;
  const span = PLANE - 2 * edge;
  const at = (valence, arousal) => [edge + ((valence + 1) / 2) * span, edge + ((1 - arousal) / 2) * span];
  pen.fillStyle = PAPER;
  pen.fillRect(0, 0, PLANE, PLANE);
  const line = (from, to, style, width) => {
    pen.strokeStyle = style;
    pen.lineWidth = width;
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(...to);
    pen.stroke();
  };
  for (const tick of [-1, -0.5, 0.5, 1, 0]) {
    const [style, width] = tick === 0 ? [INK, 2] : [GRID, 1];
    line(at(tick, -1), at(tick, 1), style, width);
    line(at(-1, tick), at(1, tick), style, width);
  }
  const words = [["tense", -0.94, 0.92], ["excited", 0.94, 0.92], ["sad", -0.94, -0.92], ["calm", 0.94, -0.92]];
  pen.textBaseline = "middle";
  pen.font = `${PLANE / 19}px ${FONT}`;
  for (const [name, valence, arousal] of words) {
    pen.fillStyle = name === emotion?.quadrant ? BLUE : "#969692";
    pen.textAlign = valence < 0 ? "left" : "right";
    pen.fillText(name, ...at(valence, arousal));
  }
  pen.font = `${PLANE / 28}px ${FONT}`;
  pen.fillStyle = INK;
  pen.textAlign = "center";
  pen.fillText("arousal", PLANE / 2, edge * 0.52);
  pen.save();
  pen.translate(PLANE - edge / 2, PLANE / 2);
  pen.rotate(Math.PI / 2);
  pen.fillText("valence", 0, 0);
  pen.restore();
  if (!emotion) return;
  const figures = [emotion.valence, emotion.arousal].map((value) => (4 * value + 5).toFixed(1));
  pen.fillText(`valence ${figures[0]} / 9    arousal ${figures[1]} / 9`, PLANE / 2, PLANE - edge * 0.72);
  const place = at(emotion.valence, emotion.arousal);
  line(at(0, 0), place, BLUE, 4);
  for (const [radius, colour] of [[17, INK], [14, WHITE], [11, VERMILLION]]) {
    pen.fillStyle = colour;
    pen.beginPath();
    pen.arc(...place, radius, 0, 2 * Math.PI);
    pen.fill();
  }
}
