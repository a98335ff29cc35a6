// The body model of runtime/skeleton.py: 18 joints, and limbs as [start, end, channel of x, channel of y].

export const JOINTS = 18;

// In the order of processing, which the result depends on.
export const LIMBS = [
  [1, 2, 12, 13],
  [1, 5, 20, 21],
  [2, 3, 14, 15],
  [3, 4, 16, 17],
  [5, 6, 22, 23],
  [6, 7, 24, 25],
  [1, 8, 0, 1],
  [8, 9, 2, 3],
  [9, 10, 4, 5],
  [1, 11, 6, 7],
  [11, 12, 8, 9],
  [12, 13, 10, 11],
  [1, 0, 28, 29],
  [0, 14, 30, 31],
  [14, 16, 34, 35],
  [0, 15, 32, 33],
  [15, 17, 36, 37],
  [2, 16, 18, 19],
  [5, 17, 26, 27],
];

// Shoulder to ear, by place in LIMBS: they complete a person, but neither start one nor add to a score.
export const FILL_ONLY = new Set([17, 18]);
