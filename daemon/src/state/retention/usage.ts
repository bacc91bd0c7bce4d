import type { ObjectStorage, Usage } from "../../storage/object-storage.ts";

const NOTE = "usage";
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** Samples are at least so far apart, and so many are kept: a month. */
const APART = 6 * HOUR;
const MOST = 124;
/** What the forecast looks back on. */
const WINDOW = 14 * DAY;
const SHORTEST = HOUR;

/** How large the storage was. */
export interface UsageSample {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly bytes: number;
}

export interface Forecast {
  /** How much it grew a day, of late; null: it has not been watched for an hour yet. What was given back is not counted against it. */
  readonly bytesPerDay: number | null;
  /** When the limit is reached if that goes on, ISO 8601; null: not within ten years, or no limit. */
  readonly reached: string | null;
}

/** How much an agent's storage grows: a few samples, kept in a note. */
export class UsageHistory {
  readonly #storage: ObjectStorage;
  #samples: UsageSample[];

  private constructor(storage: ObjectStorage, samples: UsageSample[]) {
    this.#storage = storage;
    this.#samples = samples;
  }

  static async open(storage: ObjectStorage): Promise<UsageHistory> {
    const note = (await storage.notes(NOTE)).find(({ name }) => name === NOTE);
    const samples = note === undefined ? [] : (JSON.parse(Buffer.from(note.bytes).toString("utf8")) as UsageSample[]);
    return new UsageHistory(storage, samples);
  }

  /** Takes a sample when the last one is old enough, or `now` in any case. */
  async sample(usage: Usage, time: number, now = false): Promise<void> {
    const last = this.#samples.at(-1);
    if (!now && last !== undefined && time - last.time < APART) return;
    this.#samples = [...this.#samples, { time, bytes: usage.bytes }].slice(-MOST);
    const bytes = Buffer.from(JSON.stringify(this.#samples), "utf8");
    await this.#storage.apply({ objects: [], branches: [], replies: [], notes: [{ name: NOTE, bytes }] });
  }

  forecast(usage: Usage, time: number, limit: number | null): Forecast {
    return forecastOf([...this.#samples, { time, bytes: usage.bytes }], limit);
  }
}

/** From samples, oldest first, of which the last is of now. */
export function forecastOf(samples: readonly UsageSample[], limit: number | null): Forecast {
  const last = samples.at(-1);
  const recent = samples.filter(({ time }) => last !== undefined && last.time - time <= WINDOW);
  const first = recent[0];
  if (last === undefined || first === undefined || last.time - first.time < SHORTEST) {
    return { bytesPerDay: null, reached: null };
  }
  let grown = 0;
  for (const [i, { bytes }] of recent.entries()) {
    if (i > 0) grown += Math.max(0, bytes - (recent[i - 1] as UsageSample).bytes);
  }
  const bytesPerDay = Math.round((grown * DAY) / (last.time - first.time));
  if (limit === null || bytesPerDay === 0) return { bytesPerDay, reached: null };
  const days = Math.max(0, limit - last.bytes) / bytesPerDay;
  return { bytesPerDay, reached: days > 3650 ? null : new Date(last.time + days * DAY).toISOString() };
}
