import { setImmediate as nextTurn } from "node:timers/promises";
import { type BranchName, type Contract, type Hash, MAIN, sha256 } from "@vlinder/protocol";
import type { EngineOptions } from "../../src/state/engine-options.ts";
import { StateEngine } from "../../src/state/engine.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import type { Kind, ObjectName, ObjectStorage, Transaction } from "../../src/storage/object-storage.ts";
import { MemoryShelf, type QuarantineShelf } from "../../src/storage/quarantine-shelf.ts";
import { AGENT, contract, device, op, TestClock } from "./harness.ts";

export const DAY = 24 * 3_600_000;

export interface Home {
  readonly storage: ObjectStorage;
  readonly shelf: QuarantineShelf;
  readonly clock: TestClock;
}

export function newHome(storage: ObjectStorage = new StepObjects()): Home {
  return { storage, shelf: new MemoryShelf(), clock: new TestClock() };
}

/** Opens what lies in a home; the contract is set where there is none. */
export async function openHome(
  { storage, shelf, clock }: Home,
  retention: Contract["retention"] = { states: "7d" },
  options: Partial<EngineOptions> = {},
): Promise<StateEngine> {
  const engine = await StateEngine.open({
    agent: AGENT,
    storage,
    shelf,
    device: () => device(1),
    now: clock.now,
    ...options,
  });
  if (engine.liveBranches().length === 0) await engine.setContract({ ...contract(), retention });
  return engine;
}

export async function put(
  engine: StateEngine,
  name: string,
  value: string | Uint8Array | null,
  branch: BranchName = MAIN,
): Promise<Hash> {
  return (await engine.write({ space: "kv", kind: "kv.put", branch, ops: [op(name, value)] })).state;
}

/** All that a state holds, with every value read and hashed; `erased` in place of one that was. */
export async function stateAt(engine: StateEngine, commit: Hash): Promise<Record<string, string>> {
  const view = await engine.view(commit);
  const all: Record<string, string> = {};
  for await (const { key, hash, size } of view.entries("kv")) {
    const bytes = await engine.requiredValue(hash, size).catch((error: unknown) => {
      if ((error as { code?: string }).code === "erased") return null;
      throw error;
    });
    if (bytes !== null && sha256(bytes) !== hash) throw new Error(`${key} has another hash`);
    all[key] = bytes === null ? "erased" : hash;
  }
  return all;
}

export async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "fine",
    (error: unknown) => (error as { code?: string }).code ?? String(error),
  );
}

/** Memory that outlives `close`, takes turns of the event loop as a disk does, and can be killed at any change. */
export class StepObjects extends MemoryObjects {
  /** Changes that were asked for since `killAt` was set. */
  changes = 0;
  killed = false;
  #killAt = Infinity;
  #random = 1;

  constructor() {
    super("memory://steps");
  }

  /** From the nth change on nothing is done any more, and everything fails. */
  killAt(change: number): void {
    this.#killAt = change;
    this.changes = 0;
    this.killed = false;
  }

  override async read(kind: Kind, hashes: readonly Hash[]): Promise<(Uint8Array | null)[]> {
    await this.#turns();
    return super.read(kind, hashes);
  }

  override async *names(kind: Kind): AsyncGenerator<readonly ObjectName[]> {
    for await (const page of super.names(kind)) {
      await this.#turns();
      yield page;
    }
  }

  override async apply(transaction: Transaction): Promise<void> {
    await this.#change();
    return super.apply(transaction);
  }

  override async remove(kind: Kind, hashes: readonly Hash[]): Promise<void> {
    await this.#change();
    return super.remove(kind, hashes);
  }

  override async close(): Promise<void> {}

  async #change(): Promise<void> {
    if (++this.changes >= this.#killAt) this.killed = true;
    if (this.killed) throw Object.assign(new Error("killed"), { code: "killed" });
    await this.#turns();
  }

  async #turns(): Promise<void> {
    this.#random = (Math.imul(this.#random, 1_103_515_245) + 12_345) >>> 0;
    for (let n = (this.#random >>> 16) % 3; n > 0; n--) await nextTurn();
  }
}
