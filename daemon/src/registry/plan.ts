import { type Contract, encodeContract, type PlanReply, sha256 } from "@vlinder/protocol";
import type { Admission } from "./admission.ts";
import type { Declaration } from "./declaration.ts";
import { contractOf, type Manifest } from "./manifest.ts";
import { exists } from "./provision.ts";
import type { Registration } from "./registration.ts";
import type { ResolvedUri } from "./storage-uri.ts";

/**
 * The contract that a manifest means for an agent: a dimension that it leaves open stays as the
 * first vector fixed it.
 */
export function contractFor(manifest: Manifest, current: Contract | null): Contract {
  const contract = contractOf(manifest);
  const fixed = current?.vectors?.dimension;
  if (contract.vectors === undefined || contract.vectors.dimension !== undefined || fixed === undefined)
    return contract;
  return { ...contract, vectors: { ...contract.vectors, dimension: fixed } };
}

export function sameContract(a: Contract, b: Contract | null): boolean {
  return b !== null && encodeContract(a).equals(encodeContract(b));
}

/** What registering a declaration would do, in order. */
export async function planOf(
  declaration: Declaration,
  admission: Admission,
  item: {
    readonly registration: Registration | null;
    readonly agent: { readonly manifest: Manifest | null } | null;
  } | null,
  current: Contract | null,
  creds: string,
): Promise<PlanReply> {
  const { manifest, objects, vectors, source, dir } = declaration;
  const record = item?.registration ?? null;
  const contract = contractFor(manifest, current);
  const steps: { what: string; detail: string }[] = [];
  const known = admission === "known" || admission === "adopt";
  if (!known) steps.push({ what: await verb(objects, "object storage"), detail: placeOf(objects) });
  if (vectors !== null && (!known || record?.vectors === null)) {
    steps.push({ what: await verb(vectors, "vector storage"), detail: placeOf(vectors) });
  }
  if (known && vectors === null && record !== null && record.vectors !== null) {
    steps.push({ what: "stop serving vectors", detail: `they stay in ${record.vectors}` });
  }
  if (!sameContract(contract, current)) {
    steps.push({ what: "commit the contract", detail: encodeContract(contract).toString("utf8") });
  }
  if (admission !== "known") steps.push({ what: "make credentials", detail: creds });
  if (!known || record?.manifest !== source.text) steps.push({ what: "write the registration", detail: dir });
  steps.push(...processSteps(manifest, item?.agent?.manifest ?? null));
  return {
    agent: manifest.name,
    dir,
    steps,
    registered: known,
    contract: sha256(encodeContract(contract)),
  };
}

/** What becomes of the process that the daemon runs for it. */
function processSteps(manifest: Manifest, served: Manifest | null): { what: string; detail: string }[] {
  const [before, now] = [served, manifest].map((one) => (one?.runtime === "process" ? one.executable : null));
  if (now === before) return [];
  if (typeof now !== "string") return [{ what: "stop the process", detail: before ?? "" }];
  return [{ what: before === null ? "start the process" : "start the process anew", detail: now }];
}

async function verb(uri: ResolvedUri, what: string): Promise<string> {
  return uri.path !== null && (await exists(uri.path)) ? `take up the ${what} that is there` : `create ${what}`;
}

function placeOf({ shown, path }: ResolvedUri): string {
  return path === null ? shown : `${shown} (${path})`;
}
