export interface Logged {
  /** `POST batch`; `unknown` for what has no route. */
  readonly route: string;
  readonly method: string;
  readonly path: string;
  /** 0: no reply was sent. */
  readonly status: number;
  /** Bytes on the wire, with headers: what the client sent, and what it was sent. */
  readonly up: number;
  readonly down: number;
  /** Why it was refused, or which fault was injected. */
  readonly note: string;
}

export interface RouteTotal {
  readonly route: string;
  readonly requests: number;
  readonly up: number;
  readonly down: number;
}

/** What was asked, in order. */
export class RequestLog {
  readonly #entries: Logged[] = [];

  add(entry: Logged): void {
    this.#entries.push(entry);
  }

  /** All since the last `take`, and forgets them. */
  take(): Logged[] {
    return this.#entries.splice(0);
  }

  get entries(): readonly Logged[] {
    return this.#entries;
  }
}

/** Requests and bytes by route, in order of the first request, and their sum under `total`. */
export function report(entries: readonly Logged[]): RouteTotal[] {
  const routes = new Map<string, { route: string; requests: number; up: number; down: number }>();
  const total = { route: "total", requests: 0, up: 0, down: 0 };
  for (const { route, up, down } of entries) {
    const sum = routes.get(route) ?? { route, requests: 0, up: 0, down: 0 };
    routes.set(route, sum);
    for (const one of [sum, total]) {
      one.requests++;
      one.up += up;
      one.down += down;
    }
  }
  return [...routes.values(), total];
}
