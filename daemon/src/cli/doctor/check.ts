import { asVlinderError } from "@vlinder/protocol";

/** What one check found. `skipped`: it could not be told, because of another one that failed. */
export interface Finding {
  readonly check: string;
  readonly result: "ok" | "warning" | "failed" | "skipped";
  readonly detail: string;
  readonly remedy: string | null;
}

export function ok(check: string, detail: string): Finding {
  return { check, result: "ok", detail, remedy: null };
}

export function skipped(check: string, detail: string): Finding {
  return { check, result: "skipped", detail, remedy: null };
}

export function bad(check: string, result: "warning" | "failed", detail: string, remedy: string): Finding {
  return { check, result, detail, remedy };
}

/** The finding of work that says by throwing that something is wrong. */
export async function attempted(check: string, work: () => Promise<Finding>): Promise<Finding> {
  try {
    return await work();
  } catch (thrown) {
    const error = asVlinderError(thrown);
    return bad(check, "failed", error.message, error.remedy ?? "see the log of vlinderd");
  }
}
