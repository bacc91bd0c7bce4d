import { canonicalJson, type Json, parseCanonicalJson } from "../canonical.ts";
import { invalid } from "../errors.ts";
import { type AgentName, parseAgentName } from "../names.ts";
import { refuseNewerFormat } from "./version.ts";

export const METRICS = ["cosine", "l2", "dot"] as const;
export type Metric = (typeof METRICS)[number];

/** Merge policies that this release knows. */
export const MERGE_POLICIES = ["keep-both", "newest", "json", "lines"] as const;
export type MergePolicy = (typeof MERGE_POLICIES)[number];

/** Version of the rules by which histories are merged; a function of this and the policies. */
export const MERGE_RULES = 1;

/**
 * The portable part of agent.toml: what every machine must agree on to merge, and what a bucket
 * needs to bring the agent up. Where it is stored and how it is run is not in it.
 */
export interface Contract {
  readonly v: 1;
  readonly name: AgentName;
  /** `policies`: key prefix (text) → policy; the longest prefix counts; default keep-both. */
  readonly merge: { readonly rules: number; readonly policies: { readonly [prefix: string]: string } };
  /**
   * How long states are kept after they arrived on a machine: `states` every commit's, then `turns` the ends of
   * turns, then the heads of branches. Spans like "90d" (h, d, w, y); absent: for ever.
   */
  readonly retention?: { readonly [name: string]: string };
  /** Absent: no vectors. `dimension` is absent until declared or fixed by the first vector. */
  readonly vectors?: { readonly metric: Metric; readonly dimension?: number };
}

/** Canonical JSON; the contract is a value, and this is its bytes. */
export function encodeContract(contract: Contract): Buffer {
  return Buffer.from(canonicalJson(contract as unknown as Json), "utf8");
}

/** Checks the shape. Whether merge rules and policies are known is `unknownMergeRules`. @throws invalid */
export function decodeContract(bytes: Uint8Array): Contract {
  const value = parseCanonicalJson(bytes, "contract") as Record<string, unknown> | null;
  const bad = (what: string): never => {
    throw invalid(`not a contract: ${what}`, { remedy: "a newer vlinder may have written it: update this one" });
  };
  if (value === null || typeof value !== "object" || Array.isArray(value)) return bad("not an object");
  refuseNewerFormat("a contract", value["v"]);
  if (value["v"] !== 1) return bad(`format ${JSON.stringify(value["v"])}`);
  for (const name of Object.keys(value)) {
    if (!["v", "name", "merge", "retention", "vectors"].includes(name)) bad(`unknown field ${name}`);
  }
  parseAgentName(value["name"]);
  const { merge, retention, vectors } = value;
  if (!isObject(merge, ["rules", "policies"]) || !Number.isSafeInteger(merge["rules"])) return bad("merge");
  if (!isTexts(merge["policies"])) return bad("merge.policies");
  if (retention !== undefined && !isTexts(retention)) return bad("retention");
  if (vectors !== undefined) {
    if (!isObject(vectors, ["metric", "dimension"])) return bad("vectors");
    if (!METRICS.includes(vectors["metric"] as Metric)) return bad("vectors.metric");
    const { dimension } = vectors;
    if (dimension !== undefined && !(Number.isSafeInteger(dimension) && Number(dimension) > 0))
      return bad("vectors.dimension");
  }
  return value as unknown as Contract;
}

function isObject(value: unknown, names?: readonly string[]): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return names === undefined || Object.keys(value).every((name) => names.includes(name));
}

function isTexts(value: unknown): boolean {
  return isObject(value) && Object.values(value).every((member) => typeof member === "string");
}

/** What in a contract this release can't merge by, in words; `null` when it can. */
export function unknownMergeRules(contract: Contract): string | null {
  if (contract.merge.rules !== MERGE_RULES) return `merge rules ${contract.merge.rules}`;
  const policies: readonly string[] = MERGE_POLICIES;
  const unknown = Object.entries(contract.merge.policies).find(([, policy]) => !policies.includes(policy));
  return unknown === undefined ? null : `merge policy "${unknown[1]}" for "${unknown[0]}"`;
}
