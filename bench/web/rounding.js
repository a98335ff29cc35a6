// Rounding as NumPy does it.

// To whole numbers, halves to the even one; for finite numbers.
export function rint(value) {
  const low = Math.floor(value);
  const part = value - low;
  if (part !== 0.5) return part < 0.5 ? low : low + 1;
  return low % 2 === 0 ? low : low + 1;
}

// A quotient of whole numbers, exactly: down, or to the nearest with halves to even.
export function quotient(above, below, truncate) {
  const low = Math.floor(above / below);
  const rest = above - low * below;
  if (truncate || 2 * rest < below) return low;
  if (2 * rest > below) return low + 1;
  return low % 2 === 0 ? low : low + 1;
}

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
