import type { z } from "zod";
import { VlinderError } from "./errors.ts";
import { LIMITS } from "./limits.ts";

/** Where a schema's parser threw a VlinderError, the issue carries it under this name. */
export const CAUSE = "vlinderError";

/** The first thing that is wrong with a request, in words that name the field. */
export function requestError(error: z.ZodError): VlinderError {
  const issue = error.issues[0];
  if (issue === undefined) return new VlinderError("invalid", "the request is not valid", { cause: error });
  const path = issue.path.join(".");
  const where = path === "" ? "the request" : path;
  const remedy = "see the operation in PROTOCOL.md";
  if (issue.code === "custom" && issue.params?.[CAUSE] instanceof VlinderError) {
    const cause = issue.params[CAUSE];
    return new VlinderError(cause.code, path === "" ? cause.message : `${path}: ${cause.message}`, {
      details: { ...cause.details, path },
      remedy: cause.remedy ?? remedy,
    });
  }
  if (issue.code === "unrecognized_keys") {
    const names = issue.keys.slice(0, 5).map((name) => JSON.stringify(name.slice(0, 80)));
    return new VlinderError("invalid", `${where}: unknown field ${names.join(", ")}`, {
      details: { path, fields: issue.keys.slice(0, 5) },
      remedy: "check the spelling; PROTOCOL.md lists the fields of every operation",
    });
  }
  if (issue.code === "too_big" && issue.origin === "array" && path === "ops") {
    return new VlinderError("too_large", `${where}: more than ${LIMITS.operations} operations`, {
      details: { path, limit: LIMITS.operations },
      remedy: "send them as several requests",
    });
  }
  return new VlinderError("invalid", `${where}: ${issue.message}`, { details: { path }, remedy });
}
