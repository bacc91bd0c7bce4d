import { insist } from "./refusal.ts";

export interface HubFile {
  readonly path: string;
  readonly xetHash: string;
  readonly size: number;
  /** ISO 8601. */
  readonly uploadedAt: string;
}

/** As the Hub lists it. */
export interface HubEntry {
  readonly type: "file" | "directory";
  readonly path: string;
  readonly size: number;
  readonly xetHash?: string;
  readonly uploadedAt: string;
  readonly mtime?: null;
}

export function fileEntry({ path, size, xetHash, uploadedAt }: HubFile): HubEntry {
  return { type: "file", path, size, xetHash, uploadedAt, mtime: null };
}

export type Change =
  | { readonly type: "addFile"; readonly path: string; readonly xetHash: string; readonly size: number }
  | { readonly type: "deleteFile"; readonly path: string };

/** Rules of S3 keys, which buckets share. @throws Refusal */
export function checkPath(path: unknown): asserts path is string {
  const isText = typeof path === "string" && path.length > 0 && Buffer.byteLength(path) <= 1024;
  insist(isText, "a path that is none");
  const isGood = !/^[/.]\/|^\/|\/$|\/\/|\.\.\/|\.\.$|\\|\0/.test(path);
  insist(isGood, `not a path: ${JSON.stringify(path)}`);
}

/** One bucket: a flat map that is changed in place, without versions, and a time that changes with it. */
export class BucketFiles {
  readonly id: string;
  readonly isPrivate: boolean;
  readonly created: string;
  readonly #files = new Map<string, HubFile>();
  /** What a list shows after each change; the last is now. */
  readonly #history: (readonly HubFile[])[] = [[]];
  #changed: number;

  constructor(id: string, isPrivate: boolean) {
    this.id = id;
    this.isPrivate = isPrivate;
    this.#changed = Date.now();
    this.created = new Date(this.#changed).toISOString();
  }

  get updatedAt(): string {
    return new Date(this.#changed).toISOString();
  }

  get(path: string): HubFile | undefined {
    return this.#files.get(path);
  }

  /** In order of path, as it was `lag` changes ago. */
  list(lag = 0): readonly HubFile[] {
    return this.#history[Math.max(0, this.#history.length - 1 - lag)] ?? [];
  }

  change(changes: readonly Change[]): void {
    if (changes.length === 0) return;
    this.#changed = Math.max(Date.now(), this.#changed + 1);
    for (const change of changes) {
      const { path } = change;
      if (change.type === "deleteFile") this.#files.delete(path);
      else this.#files.set(path, { path, xetHash: change.xetHash, size: change.size, uploadedAt: this.updatedAt });
    }
    this.#history.push([...this.#files.values()].toSorted((a, b) => (a.path < b.path ? -1 : 1)));
    if (this.#history.length > 100) this.#history.shift();
  }
}
