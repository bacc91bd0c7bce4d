import { VlinderError } from "@vlinder/protocol";
import type { Kind, Note, ObjectStorage, StoredObject } from "../../storage/object-storage.ts";
import { sweepObjects } from "../../storage/sweep.ts";
import type { QuarantineShelf } from "../../storage/quarantine-shelf.ts";

/** What one collection dropped. */
export interface Drop {
  /** The name of its quarantine. */
  readonly name: string;
  /** ISO 8601. */
  readonly time: string;
  readonly commits: number;
  readonly objects: number;
  readonly bytes: number;
}

const RECORD = "drop";
const COMMITS = "commits";

/**
 * What one collection drops, on its way out. It is durable here before it is removed from the agent's
 * storage, and the record of the collection before that.
 */
export class Quarantine {
  readonly name: string;
  readonly storage: ObjectStorage;

  private constructor(name: string, storage: ObjectStorage) {
    this.name = name;
    this.storage = storage;
  }

  /** @param commits those whose states are dropped: hashes, 32 bytes each, in order */
  static async begin(shelf: QuarantineShelf, time: Date, commits: Buffer): Promise<Quarantine> {
    const taken = new Set(await shelf.list());
    const stem = time.toISOString().replaceAll(/[-:.]/g, "");
    let name = stem;
    for (let n = 2; taken.has(name); n++) name = `${stem}-${n}`;
    const quarantine = new Quarantine(name, await shelf.open(name));
    const record: Drop = { name, time: time.toISOString(), commits: commits.length / 32, objects: 0, bytes: 0 };
    await quarantine.#note(record, commits);
    return quarantine;
  }

  /** Opens one that is there, for as long as `work` takes. */
  static async use<T>(shelf: QuarantineShelf, name: string, work: (one: Quarantine) => Promise<T>): Promise<T> {
    const quarantine = new Quarantine(name, await shelf.open(name));
    try {
      return await work(quarantine);
    } finally {
      await quarantine.storage.close();
    }
  }

  async take(objects: readonly StoredObject[]): Promise<void> {
    await this.storage.apply({ objects, branches: [], replies: [] });
  }

  async end(drop: Omit<Drop, "name" | "time">): Promise<Drop> {
    const record = { ...(await this.record()), ...drop };
    await this.#note(record);
    return record;
  }

  async record(): Promise<Drop> {
    const note = (await this.storage.notes(RECORD)).find(({ name }) => name === RECORD);
    // One that was only being made when the daemon was killed: nothing was dropped into it.
    if (note === undefined) return { name: this.name, time: beginningOf(this.name), commits: 0, objects: 0, bytes: 0 };
    return JSON.parse(Buffer.from(note.bytes).toString("utf8")) as Drop;
  }

  async commits(): Promise<Buffer> {
    const note = (await this.storage.notes(COMMITS)).find(({ name }) => name === COMMITS);
    return Buffer.from(note?.bytes ?? []);
  }

  objects(kind: Kind): AsyncIterable<readonly StoredObject[]> {
    return sweepObjects(this.storage, kind);
  }

  async #note(record: Drop, commits?: Buffer): Promise<void> {
    const notes: Note[] = [{ name: RECORD, bytes: Buffer.from(JSON.stringify(record), "utf8") }];
    if (commits !== undefined) notes.push({ name: COMMITS, bytes: commits });
    await this.storage.apply({ objects: [], branches: [], replies: [], notes });
  }
}

/** When a quarantine was begun, by its name: `20261120T214000123Z`. */
export function beginningOf(name: string): string {
  const match = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{3})Z/.exec(name);
  if (match === null) throw new VlinderError("internal", `${name} is no quarantine's name`);
  const [, year, month, day, hour, minute, second, ms] = match;
  return `${year}-${month}-${day}T${hour}:${minute}:${second}.${ms}Z`;
}
