import { type BranchName, type Hash, MAIN, parseKey, VlinderError } from "@vlinder/protocol";
import type { StateEngine } from "../../../src/state/engine.ts";
import { op } from "../../state/harness.ts";
import { dice, noise } from "../noise.ts";

/** Branches that are forked, promoted, sealed and deleted all the time; so many are alive at most. */
const MOST_BRANCHES = 6;
/** Keys that all machines write, and keys of each. */
const [SHARED, OWN] = [8, 60];

type Acknowledge = (commit: Hash, kind: string) => void;

interface Load {
  readonly todo: StateEngine;
  readonly roll: (below: number) => number;
  readonly seed: number;
  readonly index: number;
  readonly acknowledge: Acknowledge;
}

/** Carries out so many operations of an agent and its person, some at the same time, and tells of each that was acknowledged. */
export async function work(
  todo: StateEngine,
  { seed, count }: { readonly seed: number; readonly count: number },
  index: number,
  acknowledge: Acknowledge,
): Promise<void> {
  const load: Load = { todo, roll: dice(seed), seed, index, acknowledge };
  for (let done = 0; done < count;) {
    const together = Math.min(count - done, 1 + load.roll(6));
    await Promise.all(Array.from({ length: together }, (_, i) => one(load, done + i)));
    done += together;
  }
}

async function one(load: Load, i: number): Promise<void> {
  const { roll, acknowledge } = load;
  try {
    const kind = choose(roll(1000));
    const commit = await OPERATIONS[kind](load, i);
    if (commit !== null) acknowledge(commit, kind);
  } catch (error) {
    // Another operation of the same moment was first: its branch is gone, sealed, or has the name.
    if (!(error instanceof VlinderError) || !["not_found", "sealed", "conflict", "invalid"].includes(error.code))
      throw error;
  }
}

type Kind = "put" | "large" | "batch" | "delete" | "fork" | "rewind" | "promote" | "deleteBranch" | "forget";

function choose(chance: number): Kind {
  if (chance < 8) return "forget";
  if (chance < 18) return "promote";
  if (chance < 30) return "rewind";
  if (chance < 60) return "fork";
  if (chance < 80) return "deleteBranch";
  if (chance < 95) return "large";
  if (chance < 200) return "batch";
  return chance < 300 ? "delete" : "put";
}

const key = ({ roll, index }: Load): string =>
  roll(4) === 0 ? `/shared/${roll(SHARED)}` : `/of/${index}/${roll(OWN)}`;

function writable({ todo, roll }: Load): BranchName {
  const open = todo.liveBranches().filter(({ sealed, name }) => !sealed && name !== MAIN);
  return roll(3) > 0 ? MAIN : ((open[roll(open.length)]?.name ?? MAIN) as BranchName);
}

async function put(load: Load, values: Record<string, string | Uint8Array | null>): Promise<Hash> {
  const ops = Object.entries(values).map(([name, value]) => op(name, value));
  const { state } = await load.todo.write({ space: "kv", kind: "kv.batch", branch: writable(load), ops });
  return state as Hash;
}

const OPERATIONS: Readonly<Record<Kind, (load: Load, i: number) => Promise<Hash | null>>> = {
  put: (load, i) => put(load, { [key(load)]: `value ${i} of ${load.seed} on ${load.index}` }),
  // Some are the same everywhere, and come again.
  large: (load) => put(load, { [key(load)]: noise(load.roll(40), 80_000 + load.roll(200_000)) }),
  batch: (load, i) =>
    put(load, Object.fromEntries([0, 1, 2].map((n) => [key(load), `value ${i}.${n} of ${load.seed}`]))),
  delete: (load) => put(load, { [key(load)]: null }),
  fork: async (load, i) => {
    const { todo, roll, seed } = load;
    if (todo.liveBranches().length >= MOST_BRANCHES) return null;
    // Two machines that choose the same name make two branches.
    const name = roll(3) === 0 ? `fork-${roll(3)}` : `fork-${seed}-${i}`;
    return (await todo.fork(name as BranchName, await todo.resolve(writable(load)))).state;
  },
  rewind: async (load) => {
    const { todo, roll } = load;
    const branch = writable(load);
    let back = 1 + roll(30);
    for await (const { hash } of todo.log(await todo.resolve(branch))) {
      if (back-- === 0) return (await todo.rewind(branch, hash)).state;
    }
    return null;
  },
  promote: async ({ todo, roll }) => {
    const open = todo.liveBranches().filter(({ sealed, name }) => !sealed && name !== MAIN);
    const branch = open[roll(open.length)];
    return branch === undefined ? null : (await todo.promote(branch.name as BranchName, MAIN)).state;
  },
  deleteBranch: async ({ todo, roll }) => {
    const others = todo.liveBranches().filter(({ name }) => name !== MAIN);
    const branch = others[roll(others.length)];
    return branch === undefined ? null : (await todo.deleteBranch(branch.name as BranchName)).state;
  },
  forget: async (load) => {
    await load.todo.retention.forget({ key: parseKey(key(load)), isPrefix: false }, true);
    return null;
  },
};
