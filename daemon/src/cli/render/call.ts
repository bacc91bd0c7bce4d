import type { CommitEvent } from "@vlinder/protocol";
import { count, size } from "./size.ts";
import { duration } from "./time.ts";

type Called = Pick<CommitEvent, "info" | "values">;

/** What a `call` commit is about, in a line. */
export function callText({ info = {} }: Called): string {
  if (info["diverged"] !== undefined)
    return `${text(info["service"])} ${text(info["path"])} not in the record: not asked`;
  const { service, provider, model, path, status, complete } = info;
  const what = typeof model === "string" ? model : `${text(path)}`;
  const answered = status === undefined ? "no answer" : `${text(status)}${complete === false ? ", broken off" : ""}`;
  return `${text(service)} ${text(provider)}/${what} ${answered}`;
}

/** The facts of a `call` commit, for `vlinder show`. */
export function callFacts({ info = {}, values = {} }: Called): [string, string | null][] {
  const { method, path, milliseconds, tokens } = info;
  const sizeOf = (name: string): string => (values[name] === undefined ? "none" : size(values[name][1]));
  return [
    ["request", `${text(method)} ${text(path)}   ${sizeOf("request")}`],
    [
      "response",
      info["diverged"] !== undefined
        ? null
        : `${sizeOf("response")}${typeof milliseconds === "number" ? ` in ${timeText(milliseconds)}` : ""}`,
    ],
    ["tokens", tokensText(tokens)],
  ];
}

function tokensText(tokens: unknown): string | null {
  const { input, output } = (tokens ?? {}) as { input?: unknown; output?: unknown };
  return typeof input === "number" && typeof output === "number" ? `${count(input)} in, ${count(output)} out` : null;
}

export function timeText(milliseconds: number): string {
  return milliseconds < 60_000 ? `${(milliseconds / 1000).toFixed(1)} s` : duration(milliseconds / 1000);
}

/** Commits come from other machines, too: a field may hold anything. */
function text(value: unknown): string {
  return typeof value === "string" || typeof value === "number" ? String(value) : "?";
}
