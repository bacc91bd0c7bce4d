import { type EffectBeginReply, type EffectForm, type Hash, LIMITS, sha256, VlinderError } from "@vlinder/protocol";
import { type Attempt, type Effect, effectId, type Said, type Standing, standing, wordText } from "./effect.ts";
import { keepMore } from "./kept-event.ts";
import type { OpenTurn } from "./open-turn.ts";
import type { RunningEffect } from "./running-effects.ts";
import type { TurnEvent, TurnGround } from "./turn-ground.ts";
import type { TurnIndex } from "./turn-index.ts";

/** The turns that effects belong to. */
export interface EffectTurns {
  readonly index: TurnIndex;
  find(turn: string): OpenTurn | null;
  /** @throws not_found */
  required(turn: string): OpenTurn;
  /** Turns that were open when the daemon stopped have ended by then. @throws unavailable */
  restored(): Promise<void>;
}

/** What somebody says became of an effect. */
export interface Word {
  readonly status: Said["status"];
  readonly result?: { readonly bytes: Uint8Array; readonly form: EffectForm };
  /** It was done; why its result was not kept. */
  readonly lost?: string;
  readonly error?: string;
}

/** An effect, and what is so of it now. */
export interface KnownEffect extends Standing {
  readonly effect: string;
  readonly key: string;
  /** The turns that began it, each time. */
  readonly turns: readonly string[];
}

export interface Resolved {
  readonly effect: string;
  readonly key: string;
  readonly state: Hash;
  /** Null: nothing was changed. */
  readonly branch: string | null;
}

/**
 * Things that a turn does in the outside world once. Before anybody is told to do one, a commit that says so is durable; what
 * became of it is another. So after a crash it is known what may have been done, and it is done again only when somebody has
 * said that it was not.
 */
export class Effects {
  readonly #ground: Pick<TurnGround, "writer" | "reads" | "quota">;
  readonly #turns: EffectTurns;
  /** One request after the other for each effect: two turns may do the same one again at the same time. */
  readonly #lines = new Map<string, Promise<unknown>>();

  constructor(ground: Pick<TurnGround, "writer" | "reads" | "quota">, turns: EffectTurns) {
    this.#ground = ground;
    this.#turns = turns;
  }

  /** Whether an effect is to be done now. @throws not_found, conflict (it is under way), erased, quota_exceeded, unavailable */
  async begin(turn: string, key: string, id?: string): Promise<EffectBeginReply> {
    const open = this.#turns.required(turn);
    await this.#turns.index.ready();
    const effect = effectId(open.first, key);
    return await this.#inLine(effect, () => this.#begin(open, effect, key, id));
  }

  async #begin(open: OpenTurn, effect: string, key: string, id: string | undefined): Promise<EffectBeginReply> {
    const asked = open.effects.asked(id);
    if (asked !== null && asked.effect !== effect) throw reusedId(id);
    const last = open.effects.last(effect);
    if (last !== null && last.word === null) {
      if (last.told && (id === undefined || last.id !== id)) throw underWay(key, effect, open.turn);
      return await this.#tell(open, last, id);
    }
    // What became of it may not be stored yet, and is known from there.
    if (last !== null) await open.storing.durable();
    const now = this.#standing(effect);
    if (now?.status === "done") return await this.#done(effect, now.said as Said);
    if (now?.status === "running") throw underWay(key, effect, now.last.turn);
    if (now?.status === "unknown") {
      const [{ turn, time }] = now.unanswered as [Attempt];
      return { status: "unknown", effect, turn, time };
    }
    if (asked !== null) throw reusedId(id);
    if (open.isReplay) throw onlyReplay(key, effect, open.turn);
    await this.#ground.quota().admit(() => 0);
    const begun = await open.record({ kind: "effect", info: { effect, key, status: "begun" } });
    const running = open.effects.add({ effect, key, begun, id, told: false, word: null });
    return await this.#tell(open, running, id);
  }

  /** Tells the caller to do it, once that it may have been done is durable. */
  async #tell(open: OpenTurn, running: RunningEffect, id: string | undefined): Promise<EffectBeginReply> {
    await open.storing.durable();
    const { effect, key, begun } = running;
    if (await open.goesOn()) {
      open.effects.tell(running, id);
      return { status: "run", effect, begun };
    }
    if (!running.told) await this.#keep(open.turn, told(running, [begun], { status: "failed", error: NOT_TOLD }));
    throw new VlinderError("conflict", `the turn "${open.turn}" ended before the effect "${key}" was begun`, {
      details: { turn: open.turn, effect, key },
      remedy: "it was not done; run the turn again",
    });
  }

  async #done(effect: string, { commit, result, lost }: Said): Promise<EffectBeginReply> {
    const bytes = result === null ? null : await this.#ground.reads.value(result.hash, result.size);
    return { status: "done", effect, state: commit, result: bytes, form: result?.form ?? null, lost };
  }

  /**
   * Says what became of an effect, by the commit that began it; also when its turn has ended meanwhile. Durable when it resolves.
   * @throws not_found, conflict (something else was said), sealed, unavailable
   */
  async end(begun: Hash, word: Word): Promise<{ readonly effect: string; readonly state: Hash }> {
    await this.#turns.restored();
    await this.#turns.index.ready();
    const found = this.#turns.index.effects.begunBy(begun);
    if (found === null) throw notBegun(begun);
    const { effect } = found.effect;
    const state = await this.#inLine(effect, () => this.#end(found.effect, found.attempt, word));
    return { effect, state };
  }

  async #end(effect: Effect, { begun, turn }: Attempt, word: Word): Promise<Hash> {
    const event = told(effect, [begun], word);
    const text = textOf(word);
    const open = this.#turns.find(turn);
    const running = open?.effects.last(effect.effect);
    if (open !== null && running?.begun === begun && (await open.goesOn())) {
      running.word ??= { text, commit: await open.record(event) };
      if (running.word.text !== text) throw saidOtherwise(effect);
      await open.storing.durable();
      return running.word.commit;
    }
    const said = [...effect.said.values()].filter(({ attempts }) => attempts.includes(begun));
    const same = said.find((one) => wordText(one) === text || (word.status === "failed" && one.status === "not_done"));
    if (same !== undefined) return same.commit;
    // Who did it knows better than who said that it was not done.
    if (said.some(({ status }) => status !== "not_done")) throw saidOtherwise(effect);
    return (await this.#keep(turn, event)).state;
  }

  /** A person's word. Durable when it resolves. @throws not_found, invalid (not unique), conflict, sealed, unavailable */
  async resolve(prefix: string, word: Word & { readonly status: "done" | "not_done" }): Promise<Resolved> {
    await this.#turns.restored();
    await this.#turns.index.ready();
    const [effect, ...others] = this.#turns.index.effects.withPrefix(prefix);
    if (effect === undefined) throw noEffect(prefix);
    if (others.length > 0) throw notUnique(prefix, [effect, ...others]);
    return await this.#inLine(effect.effect, () => this.#resolve(effect, word));
  }

  async #resolve(effect: Effect, word: Word): Promise<Resolved> {
    const now = this.#standing(effect.effect);
    if (now === null) throw noEffect(effect.effect);
    const { said, last, unanswered } = now;
    const known = { effect: effect.effect, key: effect.key };
    if (now.status === "running") throw underWay(effect.key, effect.effect, last.turn);
    if (said !== null && isSaid(said, word)) return { ...known, state: said.commit, branch: null };
    if (said?.status === "done" && (word.status === "not_done" || said.lost === null)) throw saidOtherwise(effect);
    const of = said === null ? unanswered.map(({ begun }) => begun) : said.attempts;
    // Of attempts at one time, the one that is spoken of need not be the last: and another may be in a turn that is open.
    const about = [...effect.attempts.values()].findLast(
      ({ begun, turn }) => of.includes(begun) && !this.#isOpen(turn),
    );
    const { turn } = about ?? last;
    if (this.#isOpen(turn)) throw underWay(effect.key, effect.effect, turn);
    return { ...known, ...(await this.#keep(turn, told(effect, of, word, "person"))) };
  }

  /** Those that were begun last first. */
  async list(): Promise<KnownEffect[]> {
    await this.#turns.restored();
    await this.#turns.index.ready();
    const all = [...this.#turns.index.effects.all()].flatMap((one): KnownEffect[] => {
      const { effect, key, attempts } = one;
      const now = standing(one, this.#isOpen);
      return now === null ? [] : [{ effect, key, turns: [...attempts.values()].map(({ turn }) => turn), ...now }];
    });
    return all.sort((a, b) => (newness(a) > newness(b) ? -1 : 1));
  }

  #standing(effect: string): Standing | null {
    const known = this.#turns.index.effects.find(effect);
    return known === null ? null : standing(known, this.#isOpen);
  }

  readonly #isOpen = (turn: string): boolean => this.#turns.find(turn) !== null;

  /** A commit beside what a turn that has ended did, where that is kept. */
  async #keep(turn: string, event: TurnEvent): Promise<Pick<Resolved, "state" | "branch">> {
    const item = await this.#turns.index.turn(turn);
    if (item === null || item.ended === null) {
      throw new VlinderError("not_found", `how the turn "${turn}" ended is not here`, {
        details: { turn },
        remedy: "`vlinder sync pull` brings it, when the bucket has it",
      });
    }
    const { session, ended } = item;
    return await this.#ground.writer.write((draft) => keepMore(draft, { turn, session, ended }, event));
  }

  #inLine<T>(effect: string, work: () => Promise<T>): Promise<T> {
    const before = this.#lines.get(effect);
    const mine = before === undefined ? work() : before.then(work, work);
    const line = mine
      .catch(() => {})
      .finally(() => {
        if (this.#lines.get(effect) === line) this.#lines.delete(effect);
      });
    this.#lines.set(effect, line);
    return mine;
  }
}

const NOT_TOLD = "the turn ended before it was begun";

/** The commit of a word. */
function told(
  { effect, key }: Pick<Effect, "effect" | "key">,
  attempts: readonly Hash[],
  { status, result, lost, error }: Word,
  by: Said["by"] = "agent",
): TurnEvent {
  return {
    kind: "effect",
    info: {
      effect,
      key,
      status,
      attempts,
      ...(by === "person" ? { by } : {}),
      ...(result === undefined ? {} : { form: result.form }),
      ...(lost === undefined ? {} : { lost }),
      ...(error === undefined ? {} : { error }),
    },
    ...(result === undefined ? {} : { values: { result: result.bytes } }),
  };
}

function textOf({ status, result, lost, error }: Word): string {
  const kept = result && { hash: sha256(result.bytes), size: result.bytes.length, form: result.form };
  return wordText({ status, result: kept ?? null, lost: lost ?? null, error: error ?? null });
}

/** Whether a person's word says nothing new; without a result it asks for none. */
function isSaid(said: Said, word: Word): boolean {
  if (word.status === "not_done") return said.status !== "done";
  return said.status === "done" && (word.result === undefined || wordText(said) === textOf(word));
}

function newness({ last: { time }, effect }: KnownEffect): string {
  return `${time} ${effect}`;
}

function reusedId(id: string | undefined): VlinderError {
  return new VlinderError("conflict", `the id "${id}" was used for another request, or this one has had its answer`, {
    details: { id },
    remedy: "make a new id for each request; use the same one only to repeat it",
  });
}

function underWay(key: string, effect: string, turn: string): VlinderError {
  return new VlinderError("conflict", `the effect "${key}" is under way`, {
    details: { effect, key, turn, status: "running" },
    remedy: `wait for it; when nobody is at it any more, end its turn first: turn.fail of "${turn}"`,
  });
}

function onlyReplay(key: string, effect: string, turn: string): VlinderError {
  return new VlinderError(
    "conflict",
    `the effect "${key}" was not done, and a replay does nothing in the outside world`,
    {
      details: { effect, key, turn },
      remedy: "run a turn that retries it, where it is to be done",
    },
  );
}

function saidOtherwise({ effect, key }: Effect): VlinderError {
  return new VlinderError("conflict", `it was said already what became of the effect "${key}"`, {
    details: { effect, key },
    remedy: "`vlinder effect list` shows what; a turn that does not retry this one has effects of its own",
  });
}

function notBegun(begun: Hash): VlinderError {
  return new VlinderError("not_found", `no effect was begun by the commit ${begun}`, {
    details: { begun },
    remedy: "pass the `begun` of the reply of effect.begin",
  });
}

function noEffect(effect: string): VlinderError {
  return new VlinderError("not_found", `there is no effect "${effect}"`, {
    details: { effect },
    remedy: "`vlinder effect list` shows those that there are",
  });
}

function notUnique(prefix: string, effects: readonly Effect[]): VlinderError {
  const names = effects.slice(0, LIMITS.defaultPage).map(({ effect }) => effect);
  return new VlinderError("invalid", `several effects begin with ${prefix}`, {
    details: { effects: names },
    remedy: "write more of it",
  });
}
