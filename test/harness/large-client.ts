import { createCipheriv, createHash } from "node:crypto";
import { connect } from "@vlinder/agent-runtime";

/*
 * A client in a process of its own, so that its memory can be told from the test's:
 * `node large-client.ts put|get HOME AGENT KEY BYTES`. Says `ready` when it is connected, waits for a line,
 * and says what came of it.
 */

/** Bytes that no compression makes smaller, and that are the same every time. */
async function* noise(length: number): AsyncGenerator<Uint8Array> {
  const cipher = createCipheriv("aes-128-ctr", Buffer.alloc(16, 7), Buffer.alloc(16));
  const zeros = Buffer.alloc(256 * 1024);
  for (let left = length; left > 0; left -= zeros.length)
    yield cipher.update(zeros.subarray(0, Math.min(left, zeros.length)));
}

const [mode, home = "", agent = "", key = "", bytes = "0"] = process.argv.slice(2);
await using vlinder = await connect({ home, agent });
process.stdout.write("ready\n");
await new Promise((resolve) => process.stdin.once("data", resolve));
process.stdin.unref();
const sum = createHash("sha256");
const started = performance.now();
const report = (hash: string, size: number): void => {
  const seconds = (performance.now() - started) / 1000;
  process.stdout.write(`${JSON.stringify({ hash, size, seconds })}\n`);
};
if (mode === "put") {
  const { hash } = await vlinder.kv.put(key, noise(Number(bytes)));
  report(hash, Number(bytes));
} else {
  const value = await vlinder.kv.open(key);
  let size = 0;
  for await (const part of value?.stream() ?? []) {
    sum.update(part);
    size += part.length;
  }
  report(sum.digest("hex"), size);
}
