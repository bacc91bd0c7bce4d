import { resolve } from "node:path";
import { type RegisterReply, VlinderError } from "@vlinder/protocol";
import type { Declaration } from "./declaration.ts";
import type { Registration } from "./registration.ts";
import { withoutPassword } from "./storage-uri.ts";

/**
 * What a registration would be: of a `new` agent, of a removed one whose data was kept (`kept`),
 * of one that came by clone and has no folder yet (`adopt`), or of one that is registered (`known`).
 */
export type Admission = "new" | "kept" | "adopt" | "known";

/**
 * Decides whether a declaration may be registered beside what is registered already.
 * @throws conflict: the name is another folder's, or the storage is not where the data lies or is
 * another agent's
 */
export function admit(
  declaration: Declaration,
  record: Registration | null,
  others: readonly { readonly record: Registration; readonly folder: string }[],
): Admission {
  refuseSharedFiles(declaration, others);
  if (record === null || record.purged) return "new";
  if (record.removedAt === null && record.source !== null && record.source !== declaration.dir) {
    const { name } = record;
    throw new VlinderError(
      "conflict",
      `agent "${name}" is registered from ${record.source}, not from ${declaration.dir}`,
      {
        remedy: `register it from there; or give this one another name; or, if the folder has moved, \`vlinder agent remove ${name}\` (its data stays) and add it again`,
        details: { agent: name, source: record.source, dir: declaration.dir },
      },
    );
  }
  refuseMovedStorage(declaration, record);
  if (record.removedAt !== null) return "kept";
  return record.source === null ? "adopt" : "known";
}

/** Another URI would show an empty store, which looks like a loss. */
function refuseMovedStorage({ source, manifest, objects, vectors }: Declaration, record: Registration): void {
  const moved = (key: "object_storage" | "vector_storage", now: string, was: string): VlinderError => {
    const placed = source.problem(
      [key],
      "value",
      `${key} is ${now}, but the data of "${record.name}" lies in ${withoutPassword(was)}`,
    );
    return new VlinderError("conflict", `${source.file}:${placed.line}:${placed.column}: ${placed.message}`, {
      remedy: `write ${key} = ${JSON.stringify(withoutPassword(was))}; to start empty, \`vlinder agent remove ${record.name} --purge\` first`,
      details: { agent: manifest.name, file: source.file, line: placed.line, column: placed.column },
    });
  };
  if (objects.uri !== record.objects) throw moved("object_storage", objects.shown, record.objects);
  if (vectors !== null && record.vectors !== null && vectors.uri !== record.vectors) {
    throw moved("vector_storage", vectors.shown, record.vectors);
  }
}

/** Agents never share a file. Only one outside of the agent's own folder can be another's. */
function refuseSharedFiles(
  { source, objects, vectors }: Declaration,
  others: readonly { readonly record: Registration; readonly folder: string }[],
): void {
  for (const { record, folder } of others) {
    if (record.purged) continue;
    const taken = [record.objects, record.vectors].map((uri) => fileOf(uri, folder)).filter((file) => file !== null);
    for (const [key, uri] of [
      ["object_storage", objects],
      ["vector_storage", vectors],
    ] as const) {
      if (uri === null || uri.path === null || !taken.includes(uri.path)) continue;
      throw source.error([key], "value", `${uri.path} is storage of agent "${record.name}"`, "name another file");
    }
  }
}

/** The file of a canonical URI, when it is one of sqlite. */
function fileOf(uri: string | null, folder: string): string | null {
  return uri?.startsWith("sqlite://") === true ? resolve(folder, uri.slice("sqlite://".length)) : null;
}

/** What a registration is answered with; null: it depends on what changed. */
export const RESULTS: Readonly<Record<Admission, RegisterReply["result"] | null>> = {
  new: "created",
  kept: "created",
  adopt: "adopted",
  known: null,
};
