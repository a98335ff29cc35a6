// The harness inside a browser: does the job that the server has for it, and answers in events as bench/worker.py does.

import { decoder } from "./decode.js";
import { draw } from "./draw.js";
import { RUNTIMES } from "./engines.js";
import { batchOf, loop, resolution, warm } from "./measure.js";
import { preparer } from "./preprocess.js";
import { Refusal, bytes, floats, post, say, stayInTouch } from "./server.js";

const rounded = (values) => values.map((value) => Math.round(value * 1e6) / 1e6);

async function main() {
  const job = JSON.parse(new TextDecoder().decode(await bytes("job.json")));
  const environment = await browser();
  await say({ event: "start", schema: job.schema, plan: job.plan, environment });
  await JOBS[job.kind](job, environment.timer_resolution_ms);
}

const JOBS = { bench, answer, decode: decodeOnly };

async function bench(job, tick) {
  const { card, plan } = job;
  const { tensor, prepare } = await source(job);
  const run = await opened(job, tensor);
  const infer = () => run(tensor);
  await warm(infer, plan.warmup_s * 1e3);
  const batch = plan.strict ? 1 : await batchOf(infer, tick);
  const sample = async () => {
    const start = performance.now();
    for (let i = 0; i < batch; i++) await run(tensor);
    return [(performance.now() - start) / batch];
  };
  await loop(sample, job.least[0], job.least[1] * 1e3, (rows) =>
    say({ event: "infer", batch, wall_ms: rounded(rows.flat()) }),
  );
  if (job.frames && plan.stages_s && !plan.strict) {
    const decode = decoder(card);
    const frame = async () => {
      const start = performance.now();
      const ready = prepare ? prepare() : { tensor, geometry: null };
      const prepared = performance.now();
      const outputs = await run(ready.tensor);
      const inferred = performance.now();
      decode(outputs, ready.geometry);
      return [prepared - start, inferred - prepared, performance.now() - inferred];
    };
    await warm(frame, (plan.warmup_s / 2) * 1e3);
    await loop(frame, plan.runs, plan.stages_s * 1e3, (rows) => {
      const [pre, infer_ms, decode_ms] = [0, 1, 2].map((column) => rounded(rows.map((row) => row[column])));
      return say({ event: "frame", ...(prepare ? { pre_ms: pre } : {}), infer_ms, decode_ms });
    });
  }
  await say({ event: "done", environment: {} });
}

async function answer(job) {
  const { tensor, prepare, picture, geometry } = await source(job);
  const run = await opened(job, tensor);
  const result = decoder(job.card)(await run(tensor), geometry);
  await say({ event: "answer", result });
  if (prepare || result.emotion !== undefined) {
    const canvas = document.getElementById("overlay");
    draw(canvas, picture, result, job.caption);
    const image = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    await post("overlay", image);
  }
  await say({ event: "done", environment: {} });
}

// For tests: pictures to tensors, and given outputs to results.
async function decodeOnly(job) {
  for (const test of job.cases) {
    if (test.picture) {
      const { tensor, geometry } = preparer(test.card.input)(await bytes(test.picture), ...test.hw);
      await post(test.tensor, tensor);
      await say({ event: "answer", geometry });
    } else {
      const found = await Promise.all(test.outputs.map(async ([name, file]) => [name, await floats(file)]));
      const result = decoder(test.card)(Object.fromEntries(found), test.geometry);
      await say({ event: "answer", result });
    }
  }
  await say({ event: "done", environment: {} });
}

// The input of a run: prepared here from a picture, or as it was pushed.
async function source({ card, hw }) {
  if (!hw) return { tensor: await floats("tensor.bin"), prepare: null, picture: null, geometry: null };
  const [height, width] = hw;
  const picture = { pixels: await bytes("picture.rgba"), height, width };
  const make = preparer(card.input);
  const prepare = () => make(picture.pixels, height, width);
  return { ...prepare(), prepare, picture };
}

// Loads runtime and file, runs once, says how long each took, and posts what the first run took and gave.
async function opened({ card, plan, engine }, tensor) {
  const content = await bytes("artifact.bin");
  const began = performance.now();
  const runtime = await RUNTIMES[plan.engine](plan.threads);
  const imported = performance.now();
  const run = await runtime.open(content, card).catch((error) => {
    throw new Refusal(`${engine.name} refused the file: ${text(error)}`, outOfMemory(error) ? 5 : 2);
  });
  const loaded = performance.now();
  const outputs = await run(tensor).catch((error) => {
    throw new Refusal(`${engine.name} failed on the file: ${text(error)}`, outOfMemory(error) ? 5 : 2);
  });
  const first = performance.now();
  await post("tensor", tensor);
  for (const [i, { name }] of card.outputs.entries()) await post(`output-${i}`, outputs[name]);
  await say({
    event: "loaded",
    engine: { ...engine, threads: runtime.threads },
    import_ms: imported - began,
    load_ms: loaded - imported,
    first_ms: first - loaded,
  });
  return run;
}

async function browser() {
  const brands = await navigator.userAgentData?.getHighEntropyValues(["fullVersionList"]);
  const list = brands?.fullVersionList ?? [];
  const known = list.find(({ brand }) => brand === "Chromium") ?? list[0];
  return {
    name: known?.brand ?? "unknown",
    version: known?.version ?? "unknown",
    user_agent: navigator.userAgent,
    cross_origin_isolated: crossOriginIsolated,
    hardware_concurrency: navigator.hardwareConcurrency,
    timer_resolution_ms: resolution(),
  };
}

const text = (error) => String(error?.message ?? error).split("\n")[0].slice(0, 160);
const outOfMemory = (error) => /out of memory|bad_alloc|memory access out of bounds|could not allocate/i.test(text(error));

function failed(error) {
  const exit_code = error instanceof Refusal ? error.exitCode : 4;
  const message = error instanceof Refusal ? error.message : `the page failed: ${text(error)}`;
  return say({ event: "failed", exit_code, message });
}

window.addEventListener("error", ({ error, message }) => failed(error ?? message));
window.addEventListener("unhandledrejection", ({ reason }) => failed(reason));
document.addEventListener("securitypolicyviolation", ({ blockedURI }) => failed(`it asked for ${blockedURI}`));
stayInTouch();
main().catch(failed);
