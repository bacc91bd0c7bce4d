import { join } from "node:path";
import { canonicalJson, type DrillRecord, type Json, parseCanonicalJson } from "@vlinder/protocol";
import { readHomeFile, writeHomeFile } from "./home-file.ts";

const drillFile = (home: string): string => join(home, "sync", "drill.json");

/** The last drill of this bucket; null: there was none, or what was written of it can't be read. */
export async function lastDrill(home: string, bucket: string | null): Promise<DrillRecord | null> {
  const bytes = await readHomeFile(drillFile(home));
  if (bytes === null) return null;
  try {
    const { v, drill } = parseCanonicalJson(bytes, "drill.json") as unknown as { v: unknown; drill: DrillRecord };
    return v === 1 && drill.bucket === bucket ? drill : null;
  } catch {
    return null; // a memory, nothing that anything hangs on
  }
}

export async function recordDrill(home: string, drill: DrillRecord): Promise<void> {
  await writeHomeFile(drillFile(home), canonicalJson({ drill: drill as unknown as Json, v: 1 }), 0o600);
}
