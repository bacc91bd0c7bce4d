import { type Hash, sha256, VlinderError } from "@vlinder/protocol";

export interface StoredVector {
  readonly vector: Float32Array;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly model: string;
}

export interface Commit {
  readonly state: Hash;
  readonly event: string;
  readonly kv: ReadonlyMap<string, Uint8Array>;
  readonly vectors: ReadonlyMap<string, StoredVector>;
}

/** An agent's state as the SDK sees it, kept in the simplest way: every commit is a whole copy. */
export class StrictState {
  readonly branches = new Map<string, Commit[]>([
    ["main", [{ state: sha256("init"), event: "init", kv: new Map(), vectors: new Map() }]],
  ]);
  private count = 0;

  line(branch = "main"): Commit[] {
    const line = this.branches.get(branch);
    if (line === undefined) throw new VlinderError("not_found", `no branch "${branch}"`, { details: { branch } });
    return line;
  }

  head(branch?: string): Commit {
    return this.line(branch).at(-1) as Commit;
  }

  at(commit: string | undefined, branch?: string): Commit {
    if (commit === undefined) return this.head(branch);
    const found = [...this.branches.values()].flat().find(({ state }) => state.startsWith(commit));
    if (found === undefined) throw new VlinderError("not_found", `no commit ${commit}`, { details: { commit } });
    return found;
  }

  commit(event: string, branch: string | undefined, change: Partial<Pick<Commit, "kv" | "vectors">>): Commit {
    const line = this.line(branch);
    const commit = { ...this.head(branch), ...change, event, state: sha256(`commit ${this.count++}`) };
    line.push(commit);
    return commit;
  }

  fork(name: string, from: Commit): void {
    this.branches.set(name, [from]);
  }
}
