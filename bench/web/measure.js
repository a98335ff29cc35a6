// Timing with a clock that is coarse: its resolution is measured, and short calls are timed in batches.

const FLUSH_MS = 500; // of timed work between two lines
const FLUSH_RUNS = 2000;
const LEAST_WARM = 2;
const LEAST_TICKS = 200; // of the clock in a sample, so that reading it twice adds 1 % at most
const MOST_BATCH = 10000;

// The smallest step that the clock is seen to make, ms.
export function resolution() {
  let least = Infinity;
  for (let i = 0; i < 200; i++) {
    const before = performance.now();
    let now = before;
    while (now === before) now = performance.now();
    least = Math.min(least, now - before);
  }
  return Math.round(least * 1e6) / 1e6;
}

export async function warm(call, ms) {
  const end = performance.now() + ms;
  for (let done = 0; done < LEAST_WARM || performance.now() < end; done++) await call();
}

// How many calls, back to back, make up enough ticks; by the fastest of some.
export async function batchOf(call, tick) {
  let least = Infinity;
  for (let i = 0; i < 5; i++) {
    const start = performance.now();
    await call();
    least = Math.min(least, performance.now() - start);
  }
  return Math.min(Math.max(Math.ceil((LEAST_TICKS * tick) / Math.max(least, tick)), 1), MOST_BATCH);
}

// Times samples until there are `runs` of them and `ms` are over; flush(samples) takes them now and then.
// sample() gives a row of numbers, ms.
export async function loop(sample, runs, ms, flush) {
  let rows = [];
  const began = performance.now();
  let flushed = began;
  for (let done = 1; ; done++) {
    rows.push(await sample());
    const now = performance.now();
    const over = done >= runs && now - began >= ms;
    if (!over && now - flushed < FLUSH_MS && rows.length < FLUSH_RUNS) continue;
    await flush(rows);
    if (over) return;
    rows = [];
    await sample(); // not counted: sending has cooled the caches
    flushed = performance.now();
  }
}
