import { parentPort } from "node:worker_threads";
import { asVlinderError, VlinderError } from "@vlinder/protocol";
import { IndexDamaged } from "../vector-storage.ts";
import { IndexFile } from "./index-file.ts";
import type { Reply, Request } from "./worker-messages.ts";

/** The thread that has all agents' vector index files open. One request after the other. */
const port = parentPort;
if (port === null) throw new Error("index-worker.ts is started as a worker thread");

const indexes = new Map<number, IndexFile>();

port.on("message", (request: Request) => {
  let reply: Reply;
  try {
    reply = { id: request.id, value: perform(request) };
  } catch (error) {
    reply = { id: request.id, ...describe(error) };
  }
  port.postMessage(reply);
});

function perform({ index, operation, args }: Request): unknown {
  if (operation === "open") {
    indexes.set(index, new IndexFile(...(args as ConstructorParameters<typeof IndexFile>)));
    return undefined;
  }
  const file = indexes.get(index);
  if (file === undefined) throw new VlinderError("internal", `no vector index ${index} is open`);
  if (operation === "close") indexes.delete(index);
  return (file[operation] as (...args: readonly unknown[]) => unknown)(...args);
}

/** What says that the file, not its surroundings, is at fault. A missing table or column is damage too. */
const DAMAGE = /^SQLITE_(CORRUPT|NOTADB|CONSTRAINT|ERROR|MISMATCH|FORMAT)/;

function describe(error: unknown): { damaged: string } | { error: ReturnType<VlinderError["toBody"]> } {
  if (error instanceof IndexDamaged) return { damaged: error.message };
  const code = (error as { code?: unknown } | null)?.code;
  if (typeof code === "string" && code.startsWith("SQLITE_")) {
    const message = (error as Error).message;
    if (DAMAGE.test(code)) return { damaged: `${code}: ${message}` };
    const failure = new VlinderError("unavailable", `the vector index can't be used: ${message} (${code})`, {
      remedy: "see that its folder can be written and the disk is not full",
      details: { code },
    });
    return { error: failure.toBody() };
  }
  return { error: asVlinderError(error).toBody() };
}
