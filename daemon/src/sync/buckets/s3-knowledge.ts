/** A service may be replaced by a better one; what was found out of it holds so long, in milliseconds. */
const HOLDS = 24 * 3_600_000;

/**
 * Whether services have exclusive create, by place (endpoint and bucket), as it was found out: each asks for it in vain at most once a
 * day, and not each time that a bucket is opened.
 */
export class S3Knowledge {
  readonly #found = new Map<string, { readonly isExclusive: boolean; readonly until: number }>();
  readonly #finding = new Map<string, Promise<boolean>>();
  readonly #now: () => number;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** What is known; else what `find` gives, which all who ask meanwhile wait for. @throws what it throws, and nothing is known then */
  async isExclusive(place: string, find: () => Promise<boolean>): Promise<boolean> {
    const known = this.#found.get(place);
    if (known !== undefined && this.#now() < known.until) return known.isExclusive;
    const finding = this.#finding.get(place) ?? this.#find(place, find);
    return await finding;
  }

  learn(place: string, isExclusive: boolean): void {
    this.#found.set(place, { isExclusive, until: this.#now() + HOLDS });
  }

  async #find(place: string, find: () => Promise<boolean>): Promise<boolean> {
    const finding = find();
    this.#finding.set(place, finding);
    try {
      const isExclusive = await finding;
      this.learn(place, isExclusive);
      return isExclusive;
    } finally {
      this.#finding.delete(place);
    }
  }
}

/** What this process has found out. */
export const S3_KNOWLEDGE = new S3Knowledge();
