/** What the Hub or the CAS answers to a request that it does not carry out. */
export class Refusal extends Error {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.status = status;
    this.headers = headers;
  }
}

/** @throws Refusal 400 */
export function insist(isTrue: boolean, message: string): asserts isTrue {
  if (!isTrue) throw new Refusal(400, message);
}

export function repoNotFound(): Refusal {
  return new Refusal(404, "Repository not found", { "X-Error-Code": "RepoNotFound" });
}

export function entryNotFound(path: string): Refusal {
  return new Refusal(404, `Entry not found: ${path}`, { "X-Error-Code": "EntryNotFound" });
}
