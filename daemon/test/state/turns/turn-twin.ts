import { type BranchName, type Hash, type Key, keyText, MAIN, parseKey, sha256 } from "@vlinder/protocol";
import { expect } from "vitest";
import { StateEngine } from "../../../src/state/engine.ts";
import type { UploadedOp } from "../../../src/state/uploads.ts";
import { BACKENDS, type Place } from "../backends.ts";
import { AGENT, contract, device, TestClock } from "../harness.ts";
import { noise } from "../property.ts";
import { type Asked, applied, type Cells, changed, hashAt, joined, type Last, meets, TurnModel } from "./turn-model.ts";

export const KEYS: readonly Key[] = [
  ...Array.from({ length: 7 }, (_, i) => `/both/${i}`),
  ...Array.from({ length: 5 }, (_, i) => `/newest/${i}`),
  "/ü",
].map(parseKey);
const isNewest = (key: Key): boolean => key.startsWith("/newest/");
const RULES = { ...contract({ "/newest/": "newest" }), retention: { states: "2d" } };

export type Expect = "anything" | "what is there" | "nothing" | "something else";
export type Ask = readonly [key: number, value: number | null, expect: Expect];
/** Numbers that choose: which turn, branch or key they mean depends on what there is by then. */
export type Command =
  | { do: "begin"; branch: number }
  | { do: "write"; turn: number; asks: readonly Ask[]; upload: boolean }
  | { do: "burst"; turn: number; puts: number; from: number }
  | { do: "read"; turn: number; key: number }
  | { do: "list"; turn: number; limit: number }
  | { do: "flush"; turn: number }
  | { do: "direct"; branch: number; asks: readonly Ask[] }
  | { do: "collect" };
export type Ending = { how: "complete" | "fail" | "both" | "rewind" | "fork"; turn: number };
const pick = <T>(items: readonly T[], by: number): T => items[by % items.length] as T;

/** Every eighth value is large enough to be stored in chunks. */
function valueOf(number: number): Buffer {
  return number % 8 === 7 ? noise(number, 70_000 + number) : Buffer.from(`value ${number}`);
}

export async function openEngine(
  storage: ReturnType<Place["open"]>,
  clock = new TestClock(),
): Promise<{ engine: StateEngine; clock: TestClock }> {
  const engine = await StateEngine.open({
    agent: AGENT,
    storage: await storage,
    device: () => device(1),
    now: clock.now,
  });
  if (engine.liveBranches().length === 0) await engine.setContract(RULES);
  return { engine, clock };
}

interface Branch {
  head: Hash;
  /** With what is under way. */
  cells: Cells;
  /** What the head has: a turn begins from there. */
  durable: Cells;
}

interface Open extends TurnModel {
  readonly id: string;
  readonly branch: BranchName;
  readonly from: Hash;
}

/** Sends commands to an engine, does the same to the model, and compares. */
export class Twin {
  readonly engine: StateEngine;
  readonly values = new Map<Hash, Buffer>();
  readonly branches = new Map<BranchName, Branch>();
  readonly turns = new Map<string, Open>();
  readonly #clock: TestClock;
  readonly #busy = new Set<string>();
  #uploads = 0;

  constructor(engine: StateEngine, clock: TestClock) {
    this.engine = engine;
    this.#clock = clock;
    this.branches.set(MAIN, { head: engine.branch(MAIN).head, cells: new Map(), durable: new Map() });
  }

  /** Answers settle later; of what they say the model has moved on when this returns. */
  send(command: Command): Promise<void> {
    if (command.do === "collect") return this.engine.retention.collect(true).then(() => {});
    if (command.do === "begin") return this.#begin(pick([...this.branches.keys()], command.branch));
    if (command.do === "direct") return this.#direct(pick([...this.branches.keys()], command.branch), command.asks);
    const turn = pick([...this.turns.values()], command.turn);
    // One at a time: what a turn reads beside its own write could be either.
    if (turn === undefined || this.#busy.has(turn.id)) return Promise.resolve();
    this.#busy.add(turn.id);
    return this.#inTurn(turn, command).finally(() => this.#busy.delete(turn.id));
  }

  #inTurn(turn: Open, command: Exclude<Command, { do: "begin" | "direct" | "collect" }>): Promise<void> {
    if (command.do === "read") return this.#read(turn, pick(KEYS, command.key));
    if (command.do === "list") return this.#list(turn, command.limit);
    if (command.do === "flush") return this.#flush(turn);
    if (command.do === "write") return this.#write(turn, command.asks, command.upload);
    const puts = Array.from({ length: command.puts }, (_, i) =>
      this.#write(turn, [[(command.from + i * 5) % KEYS.length, (command.from + i) % 31, "anything"]], false),
    );
    return Promise.all(puts).then(() => {});
  }

  async #flush(turn: Open): Promise<void> {
    await this.engine.turns.required(turn.id).storing.flush();
  }

  async #begin(branch: BranchName): Promise<void> {
    if (this.turns.size >= 5) return;
    const { durable } = this.#branch(branch);
    const { turn, base, state } = await this.engine.turns.begin({ branch }, undefined, true);
    this.turns.set(turn, Object.assign(new TurnModel(durable, state), { id: turn, branch, from: base }));
  }

  async #fork(of: BranchName): Promise<void> {
    if (this.branches.size >= 3) return;
    const { head, cells } = this.#branch(of);
    const name = `side-${this.branches.size}` as BranchName;
    await this.engine.fork(name, head);
    this.branches.set(name, { head, cells, durable: cells });
  }

  /** The model moves at once, unless the request does not go through: as they are sent, so are they computed. */
  async #direct(name: BranchName, asks: readonly Ask[]): Promise<void> {
    const branch = this.#branch(name);
    const asked = this.#asked(branch.cells, asks);
    const request = this.engine.write({ space: "kv", kind: "kv.batch", branch: name, ops: this.#ops(asked) });
    if (!meets(branch.cells, asked)) return await expect(request).rejects.toMatchObject({ code: "conflict" });
    const before = branch.cells;
    const last = this.#last();
    const after = applied(before, changed(before, asked), last);
    branch.cells = after;
    try {
      last.hash = (await request).state;
      branch.head = last.hash;
      branch.durable = after;
    } catch (error) {
      branch.cells = before;
      throw error;
    }
  }

  async #write(turn: Open, asks: readonly Ask[], upload: boolean): Promise<void> {
    const asked = this.#asked(turn.cells, asks);
    let ops: readonly UploadedOp[] = this.#ops(asked);
    const open = this.engine.turns.required(turn.id);
    if (upload) ops = await Promise.all(ops.map((op) => this.#uploaded(op)));
    const request = (async () => open.write({ space: "kv", kind: "kv.batch", branch: turn.branch, ops }))();
    if (!meets(turn.cells, asked)) return await expect(request).rejects.toMatchObject({ code: "conflict" });
    const isChange = changed(turn.cells, asked).length > 0;
    const last = this.#last();
    turn.write(asked, last);
    const { state } = await request;
    last.hash = state;
    expect(state === turn.head).toBe(!isChange);
    turn.head = state;
  }

  async #uploaded(op: UploadedOp): Promise<UploadedOp> {
    if (op.value === null || !("bytes" in op.value)) return op;
    const upload = `upload-${this.#uploads++}`;
    await this.engine.uploads.put(upload, { offset: 0, bytes: op.value.bytes, last: true });
    return { ...op, value: { upload } };
  }

  async #read(turn: Open, key: Key): Promise<void> {
    const wanted = turn.read(key);
    const { value, state } = await this.engine.turns.required(turn.id).find(key);
    expect([value?.hash ?? null, state]).toEqual([wanted, turn.head]);
    if (value !== null) expect(sha256(value.bytes as Uint8Array)).toBe(wanted);
  }

  async #list(turn: Open, limit: number): Promise<void> {
    const view = await this.engine.turns.required(turn.id).stateOf();
    const listed = [...turn.cells.keys()].sort().slice(0, limit);
    for (const key of listed) turn.read(key);
    const entries = await view.list("kv", { limit });
    expect(entries.map(({ key, hash }) => [key, hash])).toEqual(listed.map((key) => [key, hashAt(turn.cells, key)]));
  }

  /** In a round of its own; flushes, reads and writes of other turns may be under way. */
  async end({ how, turn: by }: Ending): Promise<void> {
    if (how === "fork") return await this.#fork(pick([...this.branches.keys()], by));
    const turn = pick([...this.turns.values()], by);
    if (turn === undefined) return;
    if (how === "rewind") return await this.#rewind(turn);
    const { turns } = this.engine;
    if (how === "fail") {
      this.#kept(turn, await turns.fail(turn.id, "as asked"), "failed");
    } else if (how === "complete") {
      await this.#completed(turn, await turns.complete(turn.id, Buffer.from("output")));
    } else {
      const [completed, failed] = await Promise.allSettled([
        turns.complete(turn.id, null),
        turns.fail(turn.id, "late"),
      ]);
      expect(failed).toMatchObject({ status: "rejected", reason: { code: "conflict" } });
      if (completed.status === "rejected") throw completed.reason;
      await this.#completed(turn, completed.value);
    }
    this.turns.delete(turn.id);
  }

  async #completed(turn: Open, ended: Awaited<ReturnType<StateEngine["turns"]["complete"]>>): Promise<void> {
    const branch = this.#branch(turn.branch);
    const moved = branch.head !== turn.from;
    const broken = moved ? turn.broken(branch.cells) : [];
    if (broken.length > 0) {
      if (ended.kind !== "conflict") throw new Error("the turn should have ended with a conflict");
      const key = parseKey(ended.expected?.key ?? "");
      expect(broken).toContain(key);
      expect(ended.expected).toMatchObject({ expected: turn.expected.get(key), actual: hashAt(branch.cells, key) });
      return this.#kept(turn, ended, "conflict");
    }
    expect(ended).toMatchObject({ kind: "completed", state: turn.head, merged: moved });
    if (ended.kind !== "completed") return;
    await this.#checkReads(turn, ended.commit);
    if (moved) {
      const merge = { ...this.#last(), hash: ended.head };
      const theirs = { head: ended.commit, cells: turn.cells };
      const { cells, conflicts } = joined(turn.base, branch, theirs, merge, isNewest);
      expect(ended.conflicts).toBe(conflicts);
      branch.cells = cells;
    } else {
      expect(ended.head).toBe(ended.commit);
      branch.cells = turn.cells;
    }
    branch.durable = branch.cells;
    branch.head = ended.head;
  }

  #kept(turn: Open, ended: { readonly kind: string; readonly commit: Hash; readonly state: Hash }, kind: string): void {
    const name = `turn/${turn.id}` as BranchName;
    expect(ended).toMatchObject({ kind, state: turn.head, branch: name });
    // It is a branch as any other from now on.
    this.branches.set(name, { head: ended.commit, cells: turn.cells, durable: turn.cells });
  }

  async #checkReads(turn: Open, commit: Hash): Promise<void> {
    const { event } = await this.engine.commit(commit);
    const ref = event.values?.["reads"];
    const reads =
      ref === undefined
        ? []
        : (JSON.parse(Buffer.from(await this.engine.requiredValue(...ref)).toString()) as { kv: [] }).kv;
    expect(reads).toEqual(
      [...turn.reads].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, hash]) => [keyText(key), hash]),
    );
  }

  /** Back to where a turn began: its state is kept as long as the turn is open. */
  async #rewind(turn: Open): Promise<void> {
    const branch = this.#branch(turn.branch);
    const { state } = await this.engine.rewind(turn.branch, turn.from);
    const last = { ...this.#last(), hash: state };
    const cells = [...turn.base].map(([key, cell]) => {
      const now = branch.cells.get(key);
      return [key, now?.hash === cell.hash ? now : { hash: cell.hash, last }] as const;
    });
    branch.cells = new Map(cells);
    branch.durable = branch.cells;
    branch.head = state;
  }

  /** Every branch, and every turn for itself. */
  async check(): Promise<void> {
    expect(new Map(this.engine.liveBranches().map(({ name, head }) => [name, head]))).toEqual(
      new Map([...this.branches].map(([name, { head }]) => [name, head])),
    );
    for (const { head, cells } of this.branches.values()) await this.#checkState(await this.engine.view(head), cells);
    for (const turn of this.turns.values()) {
      const open = this.engine.turns.required(turn.id);
      expect([open.head.commit, open.base]).toEqual([turn.head, turn.from]);
      await this.#checkState(open.view(), turn.cells);
    }
  }

  async #checkState(view: Awaited<ReturnType<StateEngine["view"]>>, cells: Cells): Promise<void> {
    const there: (readonly [Key, Hash])[] = [];
    for await (const { key, hash } of view.entries("kv")) there.push([key, hash]);
    expect(there).toEqual([...cells].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, { hash }]) => [key, hash]));
  }

  /** The values are there, the history is whole, and the contents alone decide what the state is called. */
  async checkEnd(engine: StateEngine): Promise<void> {
    expect((await engine.verify()).damage).toEqual([]);
    for (const [name, { head, cells }] of this.branches) {
      for (const { hash } of cells.values()) {
        expect(sha256(await engine.requiredValue(hash, (this.values.get(hash) as Buffer).length))).toBe(hash);
      }
      const fresh = await openEngine((await (BACKENDS["memory"] as () => Promise<Place>)()).open());
      const ops = this.#ops([...cells].map(([key, { hash }]) => ({ key, hash })));
      if (ops.length > 0) await fresh.engine.write({ space: "kv", kind: "kv.batch", branch: MAIN, ops });
      const { snapshot } = await fresh.engine.commit(fresh.engine.branch(MAIN).head);
      expect([name, (await engine.commit(head)).snapshot]).toEqual([name, snapshot]);
      await fresh.engine.close();
    }
  }

  #branch(name: BranchName): Branch {
    return this.branches.get(name) as Branch;
  }

  #last(): Last {
    return { time: this.#clock.now().toISOString(), hash: "" as Hash };
  }

  #asked(cells: Cells, asks: readonly Ask[]): Asked[] {
    return asks.map(([at, number, expectation]) => {
      const key = KEYS[at] as Key;
      const bytes = number === null ? null : valueOf(number);
      const hash = bytes === null ? null : sha256(bytes);
      if (bytes !== null) this.values.set(hash as Hash, bytes);
      if (expectation === "anything") return { key, hash };
      const expected = { "what is there": hashAt(cells, key), nothing: null, "something else": sha256("else") };
      return { key, hash, expect: expected[expectation] };
    });
  }

  #ops(asked: readonly Asked[]): UploadedOp[] {
    return asked.map(({ key, hash, ...rest }) => ({
      key,
      value: hash === null ? null : { hash, bytes: this.values.get(hash) as Buffer },
      ...rest,
    }));
  }
}
