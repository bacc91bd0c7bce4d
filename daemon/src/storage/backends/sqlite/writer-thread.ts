import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { type Failure, failureOf } from "./failure.ts";
import type {
  CheckpointReport,
  CheckpointRequest,
  Outcome,
  WriterAnswer,
  WriterMessage,
  WriterReport,
  WriterRequest,
} from "./messages.ts";
import { WriterDatabase } from "./writer-database.ts";

/** A checkpoint is made when the log has so many pages that are not in the file yet: 4 MiB. */
const CHECKPOINT_PAGES = 1024;
/**
 * With so many pages in the log (32 MiB) the writer itself moves what the checkpoint left, so that the log starts
 * anew: a checkpoint beside writes never gets to the end of it.
 */
const RESET_PAGES = 8192;
/** Bytes of log that an agent keeps for whom nothing is written, as there may be many of them; and when that is so. */
const QUIET_BYTES = 8 << 20;
const QUIET_MS = 10_000;
/** Transactions of one database that share an fsync at most. */
const GROUP_MAX = 64;
const GROUP_BYTES = 8 * 1024 * 1024;

const CHECKPOINTS_ENDED: Failure = {
  code: "internal",
  message: "the thread that makes checkpoints ended; the writer makes them now, and is slower",
  remedy: "restart vlinderd, and report this with the daemon's log",
  retryable: false,
};

class ServedDatabase {
  readonly database: WriterDatabase;
  checkpointing = false;
  /** Pages owed at which the next checkpoint is made: more than the last one had to leave, whatever hindered it. */
  checkpointAt = CHECKPOINT_PAGES;
  /** The call that waits for the end of a checkpoint. */
  closing: number | null = null;
  /** Until it is quiet. */
  readonly quiet: NodeJS.Timeout;

  constructor(database: WriterDatabase, onQuiet: () => void) {
    this.database = database;
    this.quiet = setTimeout(onQuiet, database.options.quietMs ?? QUIET_MS).unref();
  }
}

const { checkpoints } = workerData as { readonly checkpoints: MessagePort };
const databases = new Map<number, ServedDatabase>();
let queue: WriterRequest[] = [];
let checkpointsEnded = false;

parentPort?.on("message", (message: WriterMessage) => {
  if (message.op === "attach") {
    const { database, options } = message;
    const say = (notice: string): void => report({ database, notice });
    databases.set(database, new ServedDatabase(new WriterDatabase(options, say), () => cutLog(database)));
  } else if (queue.push(message) === 1) {
    // What arrived together is taken together.
    setImmediate(round);
  }
});
checkpoints.on("message", checkpointed);
checkpoints.on("close", () => {
  checkpointsEnded = true;
  for (const [database, { checkpointing }] of databases) {
    if (checkpointing) checkpointed({ database, failure: CHECKPOINTS_ENDED });
  }
});

function round(): void {
  const requests = queue;
  queue = [];
  for (const [number, own] of Map.groupBy(requests, ({ database }) => database)) {
    const answers: WriterAnswer[] = [];
    for (const group of groups(own)) answers.push(...serve(number, group));
    if (answers.length > 0) report({ answers });
    considerCheckpoint(number);
    databases.get(number)?.quiet.refresh();
    // What has arrived meanwhile goes first.
    setImmediate(() => queue.length > 0 || tidy(number));
  }
}

/** Neighbouring transactions, or one other request. */
function* groups(requests: readonly WriterRequest[]): Generator<WriterRequest[]> {
  let group: WriterRequest[] = [];
  let bytes = 0;
  for (const request of requests) {
    const size = request.op === "apply" ? request.packed.byteLength : Infinity;
    if (group.length > 0 && (bytes + size > GROUP_BYTES || group.length === GROUP_MAX)) {
      yield group;
      group = [];
      bytes = 0;
    }
    group.push(request);
    bytes += size;
  }
  if (group.length > 0) yield group;
}

/** Bytes of a transaction whose memory is given back as soon as it is stored. */
const FREED_AT_ONCE = 1 << 20;

function serve(number: number, group: readonly WriterRequest[]): WriterAnswer[] {
  const request = group[0];
  if (request === undefined) return [];
  if (request.op === "open") return [attempt(number, request.call, (database) => database.open())];
  if (request.op === "close") return close(number, request.call);
  if (request.op === "remove") {
    return [attempt(number, request.call, (database) => database.remove(request.locations))];
  }
  if (request.op === "dropReplies") {
    const { before, limit } = request;
    return [attempt(number, request.call, (database) => database.dropReplies(before, limit))];
  }
  if (request.op === "dropBases") return [attempt(number, request.call, (database) => (database.dropBases() ? 1 : 0))];
  if (request.op === "reclaim") {
    const { bytes } = request;
    return [attempt(number, request.call, (database) => database.reclaim(bytes) ?? -1)];
  }
  const made = group.flatMap((one) => (one.op === "apply" ? [one] : []));
  const outcomes = databases.get(number)?.database.apply(made) ?? [];
  // A collector that sees a small heap would leave tens of megabytes of them.
  for (const { packed } of made) if (packed.byteLength > FREED_AT_ONCE) packed.transfer(0);
  return group.map(({ call }, index) => answer(call, outcomes[index] ?? null));
}

function attempt(number: number, call: number, work: (database: WriterDatabase) => number | void): WriterAnswer {
  const served = databases.get(number) as ServedDatabase;
  try {
    return answer(call, null, work(served.database) ?? 0);
  } catch (error) {
    return answer(call, { failure: failureOf(error, served.database.options.path) });
  }
}

function answer(call: number, outcome: Outcome | null, count = 0): WriterAnswer {
  return { call, outcome, count };
}

/** The connection that closes last empties the log and deletes it; that must not be the checkpoint's. */
function close(number: number, call: number): WriterAnswer[] {
  const served = databases.get(number);
  if (served?.checkpointing === true) {
    served.closing = call;
    return [];
  }
  databases.delete(number);
  clearTimeout(served?.quiet);
  if (served === undefined) return [answer(call, null)];
  try {
    served.database.close();
    return [answer(call, null)];
  } catch (error) {
    return [answer(call, { failure: failureOf(error, served.database.options.path) })];
  }
}

function considerCheckpoint(number: number): void {
  const served = databases.get(number);
  if (served === undefined || served.checkpointing) return;
  try {
    if ((served.database.log()?.owed ?? 0) < served.checkpointAt) return;
  } catch (error) {
    report({ database: number, warning: failureOf(error, served.database.options.path) });
    return;
  }
  served.checkpointing = true;
  if (checkpointsEnded) return checkpointed({ database: number, failure: null });
  const request: CheckpointRequest = { database: number, path: served.database.options.path };
  checkpoints.postMessage(request);
}

function tidy(number: number): void {
  const served = databases.get(number);
  try {
    served?.database.tidy();
    served?.database.growLog();
  } catch (error) {
    report({ database: number, warning: failureOf(error, served?.database.options.path ?? "") });
  }
}

function cutLog(number: number): void {
  const served = databases.get(number);
  if (served === undefined) return;
  try {
    if (served.checkpointing || !served.database.cutLog(QUIET_BYTES)) served.quiet.refresh();
  } catch (error) {
    report({ database: number, warning: failureOf(error, served.database.options.path) });
  }
}

function checkpointed({ database: number, failure }: CheckpointReport): void {
  const served = databases.get(number);
  if (served === undefined) return;
  served.checkpointing = false;
  if (failure !== null) report({ database: number, warning: failure });
  if (served.closing !== null) {
    report({ answers: close(number, served.closing) });
    return;
  }
  try {
    if ((served.database.log()?.pages ?? 0) >= RESET_PAGES) served.database.emptyLog();
    served.checkpointAt = (served.database.log()?.owed ?? 0) + CHECKPOINT_PAGES;
  } catch (error) {
    report({ database: number, warning: failureOf(error, served.database.options.path) });
  }
}

function report(message: WriterReport): void {
  parentPort?.postMessage(message);
}
