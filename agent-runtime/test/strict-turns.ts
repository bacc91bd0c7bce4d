import { VlinderError } from "@vlinder/protocol";
import { StrictEffects } from "./strict-effects.ts";
import type { Commit, StrictState } from "./strict-state.ts";

type Body = Record<string, unknown>;

interface OpenTurn {
  readonly id: string;
  readonly session: string;
  readonly branch: string;
  readonly base: Commit;
  readonly input: Uint8Array | null;
  /** Answers who waits for it; null: it was begun by hand. */
  readonly answer: ((reply: Body) => void) | null;
  isAccepted: boolean;
}

/** An agent's open turns in the simplest way: each is a branch that nobody else knows, until it ends. */
export class StrictTurns {
  private readonly state: StrictState;
  private readonly open = new Map<string, OpenTurn>();
  /** Of a turn that does another one again, the first of them. */
  private readonly firsts = new Map<string, string>();
  readonly effects = new StrictEffects();
  private count = 0;

  constructor(state: StrictState) {
    this.state = state;
  }

  /** With `answer` it waits for a process that takes it up. Returns the reply of `turn.begin`. */
  begin(body: Body, answer: OpenTurn["answer"] = null): Body {
    const {
      session,
      branch = "main",
      input,
      retries,
    } = body as {
      session?: string;
      branch?: string;
      input?: Uint8Array;
      retries?: string;
    };
    const id = `t-${++this.count}`;
    this.firsts.set(id, retries === undefined ? id : this.first(retries));
    const base = this.state.head(branch);
    const turn = { id, session: session ?? `s-${this.count}`, branch, base, answer, isAccepted: false };
    this.open.set(id, { ...turn, input: input === undefined ? null : new Uint8Array(input) });
    this.state.fork(lineOf(id), base);
    this.state.commit("invoke", lineOf(id), {});
    return this.begun(this.required(id));
  }

  accept({ turn: id }: Body): Body {
    const turn = this.required(id);
    if (turn.answer === null || turn.isAccepted)
      throw new VlinderError("conflict", `the turn ${turn.id} waits for nobody`);
    turn.isAccepted = true;
    return {
      ...this.begun(turn),
      input: turn.input,
      retries: null,
      deadline: new Date(Date.now() + 1000).toISOString(),
    };
  }

  /** @throws not_found */
  first(id: unknown): string {
    const first = this.firsts.get(String(id));
    if (first === undefined) throw new VlinderError("not_found", `no turn ${String(id)}`);
    return first;
  }

  /** Where the turn's reads and writes go. @throws not_found */
  line(id: unknown): string {
    return lineOf(this.required(id).id);
  }

  complete({ turn: id, output }: Body): Body {
    const turn = this.required(id);
    const { branch, base } = turn;
    const state = this.state.head(lineOf(turn.id));
    const commit = this.state.commit("complete", lineOf(turn.id), {});
    const merged = this.state.head(branch) !== base;
    if (merged) this.merge(turn, commit);
    else this.state.line(branch).push(...this.state.line(lineOf(turn.id)).slice(1));
    const { state: head } = this.state.head(branch);
    const ended = { turn: turn.id, state: state.state, commit: commit.state, head, merged, conflicts: 0 };
    this.end(turn, { ...ended, kind: "completed", output: output ?? null, reason: null, kept: null });
    return ended;
  }

  fail({ turn: id, reason }: Body): Body {
    const turn = this.required(id);
    const { state } = this.state.head(lineOf(turn.id));
    const commit = this.state.commit("fail", lineOf(turn.id), {});
    const kept = `turn/${turn.id}`;
    this.state.fork(kept, commit);
    const ended = { turn: turn.id, state, commit: commit.state, reason };
    this.end(turn, { ...ended, kind: "failed", head: null, merged: false, conflicts: 0, output: null, kept });
    return { ...ended, branch: kept };
  }

  required(id: unknown): OpenTurn {
    const turn = this.open.get(String(id));
    if (turn === undefined)
      throw new VlinderError("not_found", `no open turn ${String(id)}`, { details: { turn: id } });
    return turn;
  }

  private begun({ id, session, branch, base }: OpenTurn): Body {
    return { turn: id, session, branch, base: base.state, state: this.state.head(lineOf(id)).state };
  }

  private end(turn: OpenTurn, reply: Body): void {
    this.open.delete(turn.id);
    this.state.branches.delete(lineOf(turn.id));
    turn.answer?.({ ...reply, session: turn.session, branch: turn.branch });
  }

  /** Keys that the turn changed, on what is there now. */
  private merge({ branch, base }: OpenTurn, { kv }: Commit): void {
    const merged = new Map(this.state.head(branch).kv);
    for (const [key, value] of kv) if (base.kv.get(key) !== value) merged.set(key, value);
    for (const key of base.kv.keys()) if (!kv.has(key)) merged.delete(key);
    this.state.commit("merge", branch, { kv: merged });
  }
}

/** No branch has such a name. */
function lineOf(turn: string): string {
  return `(${turn})`;
}
