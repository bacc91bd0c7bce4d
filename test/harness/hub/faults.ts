import type { Reply } from "./call.ts";

export type Fault =
  /** Answered like this; nothing is carried out. */
  | {
      readonly kind: "status";
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      /** JSON; without it, an error. */
      readonly body?: unknown;
    }
  /** The connection ends; nothing is carried out. */
  | { readonly kind: "drop" }
  /** It is carried out, and then the connection ends without a reply. */
  | { readonly kind: "lost" }
  /** Never answered. */
  | { readonly kind: "hang" }
  | { readonly kind: "slow"; readonly ms: number }
  /** One bit of the reply's body is another. */
  | { readonly kind: "corrupt" }
  /** The reply breaks off in the middle of its body. */
  | { readonly kind: "truncate" }
  /** It is answered as it should, after this was done: what another client did in between. */
  | { readonly kind: "meanwhile"; readonly run: () => void | Promise<void> };

export interface Injection {
  /** How often it happened. */
  readonly fired: number;
}

interface Planned {
  readonly route: string;
  readonly fault: Fault;
  readonly from: number;
  readonly to: number;
  calls: number;
  fired: number;
}

/** Faults by route and call. */
export class Faults {
  readonly #planned: Planned[] = [];

  /** Happens at the `at`-th call of the route from now on (from 1), and `times` in a row. */
  inject(route: string, fault: Fault, { at = 1, times = 1 }: { at?: number; times?: number } = {}): Injection {
    const planned = { route, fault, from: at, to: at + times - 1, calls: 0, fired: 0 };
    this.#planned.push(planned);
    return planned;
  }

  clear(): void {
    this.#planned.length = 0;
  }

  take(route: string): Fault | undefined {
    let taken: Fault | undefined;
    for (const planned of this.#planned) {
      if (planned.route !== route) continue;
      planned.calls++;
      if (taken !== undefined || planned.calls < planned.from || planned.calls > planned.to) continue;
      planned.fired++;
      taken = planned.fault;
    }
    return taken;
  }
}

/** The reply with the middle bit of its body turned. */
export function corrupted(reply: Reply): Reply {
  const body = Buffer.from(reply.body ?? "");
  const middle = body.length >> 1;
  body[middle] = (body[middle] ?? 0) ^ 1;
  return { ...reply, body };
}
