// onnxruntime-web and LiteRT.js, on the processor by WebAssembly, behind one interface.
//
// A runtime is loaded once ("import"), then opens a file ("load"). What is opened has run(tensor), which copies the
// tensor in, computes, and gives the outputs by the card's names as arrays of the page's own.

import { Refusal } from "./server.js";

export const RUNTIMES = { onnxruntime: onnxruntimeWeb, litert: liteRtJs };

async function onnxruntimeWeb(threads) {
  const ort = await import("./engine/ort.wasm.min.mjs");
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = new URL("engine/", document.baseURI).href;
  ort.env.logLevel = "fatal";
  // Its WebAssembly starts with the first file that is opened. One that is none lets it start without a file.
  await ort.InferenceSession.create(new Uint8Array(1)).catch(() => {});
  const open = async (content, card) => {
    const session = await ort.InferenceSession.create(content, { executionProviders: ["wasm"] });
    const [input, ...others] = session.inputNames;
    const missing = card.outputs.find(({ name }) => !session.outputNames.includes(name));
    if (others.length || missing) throw new Refusal("the file has other inputs or outputs than its card", 2);
    const names = card.outputs.map(({ name }) => name);
    const { shape } = card.input;
    return async (tensor) => {
      const found = await session.run({ [input]: new ort.Tensor("float32", tensor, shape) }, names);
      return Object.fromEntries(names.map((name) => [name, found[name].data]));
    };
  };
  return { open, threads: ort.env.wasm.numThreads };
}

async function liteRtJs(threads) {
  const litert = await import("./engine/litert.js");
  await litert.loadLiteRt(new URL("engine/", document.baseURI).href, { threads: threads > 1 });
  const open = async (content, card) => {
    const options = { accelerator: "wasm", cpuOptions: { numThreads: threads } };
    const model = await litert.loadAndCompile(content, options);
    if (model.getInputDetails().length !== 1) throw new Refusal("the file has other inputs than its card", 2);
    const places = inOrder(model.getOutputDetails(), card);
    const { shape } = card.input;
    return async (tensor) => {
      const input = new litert.Tensor(tensor, shape);
      const outputs = await model.run([input]);
      // A copy: the array looks into memory that goes with the tensor.
      const found = card.outputs.map(({ name }, i) => [name, outputs[places[i]].toTypedArray().slice()]);
      input.delete();
      outputs.forEach((output) => output.delete());
      return Object.fromEntries(found);
    };
  };
  return { open, threads };
}

// Where the card's outputs are among the file's: by name, or else in graph order, as cards promise.
function inOrder(details, card) {
  const names = details.map(({ name }) => name);
  const byName = card.outputs.map(({ name }) => names.indexOf(name));
  if (!byName.includes(-1)) return byName;
  if (details.length !== card.outputs.length) throw new Refusal("the file has other outputs than its card", 2);
  return card.outputs.map((_, i) => i);
}
