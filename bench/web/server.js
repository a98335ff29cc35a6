// What the page says to the server that it came from.

export class Refusal extends Error {
  // Something that goes wrong in a known way, with the exit code that it stands for.
  constructor(message, exitCode) {
    super(message);
    this.exitCode = exitCode;
  }
}

export async function say(event) {
  const body = JSON.stringify(event);
  await fetch("event", { method: "POST", body });
}

export async function post(name, content) {
  const answer = await fetch(`blob/${name}`, { method: "POST", body: content });
  if (!answer.ok) throw new Refusal(`the server did not take ${name}`, 4);
}

export async function bytes(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Refusal(`the server has no ${name}`, 4);
  return new Uint8Array(await answer.arrayBuffer());
}

export async function floats(name) {
  return new Float32Array((await bytes(name)).buffer);
}

// A connection that ends with this page tells the server when it crashes.
export function stayInTouch() {
  fetch("alive").then((answer) => answer.text()).catch(() => {});
}
