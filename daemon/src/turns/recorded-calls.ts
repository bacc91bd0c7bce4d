import { sha256 } from "@vlinder/protocol";
import { withModel } from "../providers/other-model.ts";
import type { OldCall } from "./old-call.ts";

export interface AskedAgain {
  readonly service: string;
  readonly method: string;
  readonly path: string;
  readonly body: Uint8Array | null;
}

/** What the record has for a call of a replay. */
export interface Found {
  /** The how-manieth call of the replay, from 1. */
  readonly call: number;
  /** The request as it was sent then, which may name another model than the agent asks for. */
  readonly body: Uint8Array | null;
  /** Null: the turn did not ask this. */
  readonly answer: OldCall | null;
  /** Without an answer: what the turn asked at that place; null: nothing more. */
  readonly instead: OldCall | null;
}

/**
 * The calls that a turn made, to answer those of its replay. They are matched by what was asked, not by their order, which
 * calls at the same time don't have; each answer is given once, of equal requests in the order of then.
 */
export class RecordedCalls {
  readonly #calls: readonly OldCall[];
  /** The model that the turn was run with in place of what its agent asked for. */
  readonly #model: string | null;
  readonly #given = new Set<OldCall>();
  /** Those that were shown beside a call that is not in the record. */
  readonly #compared = new Set<OldCall>();
  #asked = 0;

  constructor(calls: readonly OldCall[], model: string | null = null) {
    this.#calls = calls;
    this.#model = model;
  }

  take(asked: AskedAgain): Found {
    const call = ++this.#asked;
    for (const body of this.#bodies(asked)) {
      const answer = this.#calls.find((one) => !this.#given.has(one) && isSame(one, asked, body));
      if (answer === undefined) continue;
      this.#given.add(answer);
      return { call, body, answer, instead: null };
    }
    return { call, body: asked.body, answer: null, instead: this.#counterpart(asked) };
  }

  /** As the agent asks, and as that was sent. */
  *#bodies({ service, body }: AskedAgain): Generator<Uint8Array | null> {
    const turned = this.#model === null || service !== "infer" || body === null ? null : withModel(body, this.#model);
    if (turned !== null) yield turned;
    yield body;
  }

  #counterpart({ service, method, path }: AskedAgain): OldCall | null {
    const left = this.#calls.filter((one) => !this.#given.has(one) && !this.#compared.has(one));
    const alike = left.find((one) => one.service === service && one.method === method && one.path === path);
    const found = alike ?? left[0] ?? null;
    if (found !== null) this.#compared.add(found);
    return found;
  }
}

function isSame(old: OldCall, { service, method, path }: AskedAgain, body: Uint8Array | null): boolean {
  const request = body === null ? null : sha256(body);
  return (
    old.service === service && old.method === method && old.path === path && (old.request?.hash ?? null) === request
  );
}
