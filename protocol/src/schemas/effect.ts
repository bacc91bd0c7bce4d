import { z } from "zod";
import type { Hash } from "../hash.ts";
import { LIMITS } from "../limits.ts";
import { bytesField, hashField, idField, limitField } from "./fields.ts";
import type { SyncOwed } from "./kv.ts";

/** What the person who wrote the code calls the effect; the same one in every run of it. */
const key = z
  .string()
  .min(1)
  .max(LIMITS.effectKeyChars)
  .refine((text) => text.isWellFormed(), { message: "a lone surrogate" });
const effectId = z.string().regex(/^e-[0-9a-f]{24}$/, "an effect is e- and 24 lower-case hex digits");
const why = z.string().min(1).max(LIMITS.reasonChars);
const form = z.enum(["json", "bytes"]);
const status = z.enum(["running", "unknown", "done", "failed", "not_done"]);

function isJson(bytes: Uint8Array): boolean {
  try {
    JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return true;
  } catch {
    return false;
  }
}

interface Result {
  readonly result?: Uint8Array | undefined;
  readonly form?: EffectForm | undefined;
}

/** So that whoever gets the result can read it. */
function isOfItsForm({ result, form: said = "json" }: Result): boolean {
  return result === undefined || said === "bytes" || isJson(result);
}
const NOT_JSON = { message: 'not JSON; bytes have "form": "bytes"', path: ["result"] };

function hasFormOfNothing(request: Result): boolean {
  return request.form !== undefined && request.result === undefined;
}
const NO_RESULT = { message: "there is no result that has it", path: ["form"] };

/** Requests of `vlinder.v1.<agent>.effect.*`. */
export const effectRequests = {
  /** Asks whether something is to be done in the outside world now. */
  "effect.begin": z.strictObject({ turn: idField, key, id: idField.optional() }),
  /** Says what became of it; nothing besides `begun`: it was done, and gave nothing. */
  "effect.end": z
    .strictObject({
      /** Of the reply that said "run". */
      begun: hashField,
      result: bytesField.optional(),
      form: form.optional(),
      /** It was done, and why its result can't be kept. */
      lost: why.optional(),
      /** It was not done, and why. */
      error: why.optional(),
    })
    .refine(({ result, lost, error }) => [result, lost, error].filter((one) => one !== undefined).length <= 1, {
      message: "only one of result, lost and error",
    })
    .refine((request) => !hasFormOfNothing(request), NO_RESULT)
    .refine(isOfItsForm, NOT_JSON),
  "effect.list": z.strictObject({
    turn: idField.optional(),
    key: key.optional(),
    status: status.optional(),
    /** The `next` of the reply before. */
    after: effectId.optional(),
    limit: limitField.optional(),
  }),
  /** A person's word on an effect of which nobody knows whether it was done. For the administrator. */
  "effect.resolve": z
    .strictObject({
      /** An effect, or a unique prefix of 4 digits or more. */
      effect: z.string().regex(/^e-[0-9a-f]{4,24}$/, "an effect is e- and 4 to 24 lower-case hex digits"),
      status: z.enum(["done", "not_done"]),
      result: bytesField.optional(),
      form: form.optional(),
    })
    .refine(({ status: said, result }) => said === "done" || result === undefined, {
      message: "what was not done has no result",
      path: ["result"],
    })
    .refine((request) => !hasFormOfNothing(request), NO_RESULT)
    .refine(isOfItsForm, NOT_JSON),
};

export type EffectForm = z.output<typeof form>;

/**
 * `running`: in a turn that is open. `unknown`: it was begun, and nobody said what became of it. `failed`: the agent's
 * code said that it was not done, `not_done`: a person did.
 */
export type EffectStatus = z.output<typeof status>;

export type EffectBeginReply =
  /** The caller is to do it now, and to say so with `effect.end`. `begun` is the commit that says so, and is durable. */
  | { readonly status: "run"; readonly effect: string; readonly begun: Hash }
  | {
      readonly status: "done";
      readonly effect: string;
      /** The commit that says so. */
      readonly state: Hash;
      /** Null: it gave none, or it could not be kept: then `lost` says why. */
      readonly result: Uint8Array | null;
      readonly form: EffectForm | null;
      readonly lost: string | null;
    }
  /** A turn began it, and a person has to say what became of it: `effect.resolve`. */
  | { readonly status: "unknown"; readonly effect: string; readonly turn: string; readonly time: string };

export interface EffectEndReply {
  readonly effect: string;
  readonly status: "done" | "failed";
  /** The `effect` commit that says so. */
  readonly state: Hash;
  readonly sync?: SyncOwed;
}

export interface EffectResolveReply {
  readonly effect: string;
  readonly key: string;
  readonly status: "done" | "not_done";
  readonly state: Hash;
  /** The branch that has it; null: it was said before, and nothing was changed. */
  readonly branch: string | null;
  readonly sync?: SyncOwed;
}

export interface EffectItem {
  readonly effect: string;
  readonly key: string;
  readonly status: EffectStatus;
  /** Of the last time that it was begun. */
  readonly turn: string;
  /** How often it was begun. */
  readonly attempts: number;
  /** When it was begun last, and when something was last said of it, ISO 8601. */
  readonly began: string;
  readonly time: string;
  /** The commit that says what it is now; while nobody has, the one that began it. */
  readonly commit: Hash;
  /** Who said it; null: nobody has. */
  readonly by: "agent" | "person" | null;
  readonly result: { readonly hash: Hash; readonly size: number; readonly form: EffectForm } | null;
  readonly lost: string | null;
  readonly error: string | null;
}

export interface EffectReplies {
  "effect.begin": EffectBeginReply;
  "effect.end": EffectEndReply;
  /** Those that were begun last first. */
  "effect.list": { readonly items: readonly EffectItem[]; readonly next: string | null };
  "effect.resolve": EffectResolveReply;
}
