import { type AgentRequest, asVlinderError, MAIN, type PipelineResult } from "@vlinder/protocol";

export type PipelineOp = AgentRequest<"kv.pipeline">["ops"][number];
type Ok = Extract<PipelineResult, { readonly ok: unknown }>["ok"];
/** Does one operation; what is in memory is read at once, without a promise. */
export type Perform = (op: PipelineOp) => Ok | Promise<Ok>;

/**
 * Independent operations in list order. Writes are handed over at once, in that order, and become
 * durable together. A read waits for the writes before it, and a write for the reads of its key before
 * it that still wait: so a read sees what was written before it in the list, and of its key nothing
 * that comes after.
 */
export function runPipeline(
  ops: readonly PipelineOp[],
  perform: Perform,
): readonly PipelineResult[] | Promise<readonly PipelineResult[]> {
  const results: PipelineResult[] = [];
  const pending: Promise<void>[] = [];
  const written = new Map<string, Promise<unknown>[]>();
  const read = new Map<string, Promise<unknown>>();
  /** What the next write on a branch waits for: that of the write before it too, so that their order stays. */
  const gates = new Map<string, Promise<unknown>>();
  for (const [i, op] of ops.entries()) {
    const { key } = op;
    // A turn's writes are answered at once: they wait for no branch's.
    const branch = op.turn === undefined ? (op.branch ?? MAIN) : `turn ${op.turn}`;
    const reads = op.op === "get";
    const before = reads ? allOf(written.get(branch)) : both(gates.get(branch), read.get(`${branch} ${key}`));
    const result = before === undefined ? attempt(perform, op) : before.then(() => attempt(perform, op));
    if (!(result instanceof Promise)) {
      results[i] = result;
      continue;
    }
    const done = result.then((late) => {
      results[i] = late;
    });
    pending.push(done);
    if (reads) {
      read.set(`${branch} ${key}`, done);
    } else {
      const writes = written.get(branch);
      if (writes === undefined) written.set(branch, [done]);
      else writes.push(done);
      if (before !== undefined) gates.set(branch, before);
    }
  }
  return pending.length === 0 ? results : Promise.all(pending).then(() => results);
}

/** One promise for all in the list, which from then on holds that one in their place. */
function allOf(promises: Promise<unknown>[] | undefined): Promise<unknown> | undefined {
  if (promises === undefined) return undefined;
  if (promises.length > 1) promises.push(Promise.all(promises.splice(0)));
  return promises[0];
}

function both(a: Promise<unknown> | undefined, b: Promise<unknown> | undefined): Promise<unknown> | undefined {
  return a === undefined ? b : b === undefined ? a : Promise.all([a, b]);
}

function attempt(perform: Perform, op: PipelineOp): PipelineResult | Promise<PipelineResult> {
  try {
    const ok = perform(op);
    return ok instanceof Promise ? ok.then(succeeded, failed) : { ok };
  } catch (error) {
    return failed(error);
  }
}

function succeeded(ok: Ok): PipelineResult {
  return { ok };
}

function failed(error: unknown): PipelineResult {
  return { error: asVlinderError(error).toBody() };
}
