import { type AgentName, type Hash, VlinderError } from "@vlinder/protocol";
import type { Bucket } from "../buckets/bucket.ts";
import type { HeadTrust } from "../found-heads.ts";
import type { AgentListing } from "../listing.ts";
import { type Retries, retrying } from "../retry.ts";
import { openFile, type Sealer } from "../vault/sealer.ts";
import type { VaultId } from "../vault/vault.ts";
import { decodeMark, type Mark, MARK_BYTES, markPath } from "./mark.ts";
import type { PackLedger } from "./pack-ledger.ts";

export interface MarkSource {
  readonly agent: AgentName;
  readonly bucket: Bucket;
  readonly vault: VaultId;
  readonly sealer: Sealer | null;
  readonly trust: HeadTrust;
  readonly state: PackLedger;
  readonly listing: AgentListing;
  readonly retries: Retries;
}

/**
 * The marks of one listing. Each is read once, ever, and one that speaks of several packs is read beside one of them. Whoever
 * can write to the bucket can put marks there, and a believed one makes a machine rely on packs that it has not read: so only
 * those count that a known device has signed. Others are said, and change nothing.
 */
export class Marks {
  readonly notes: string[] = [];
  readonly #source: MarkSource;
  readonly #of = new Map<Hash, Mark | null>();

  constructor(source: MarkSource) {
    this.#source = source;
  }

  /** Whether a mark was refused: then nothing is merged or deleted, since somebody may know more than this machine. */
  get refused(): boolean {
    return this.notes.length > 0;
  }

  /** All that were read and count, each once. */
  read(): Mark[] {
    return [...new Set(this.#of.values())].filter((mark) => mark !== null);
  }

  /** Null: there is none that counts. */
  async of(pack: Hash): Promise<Mark | null> {
    if (!this.#source.listing.marks.has(pack)) return null;
    const before = this.#of.get(pack);
    if (before !== undefined) return before;
    const mark = await this.#read(pack);
    this.#of.set(pack, mark);
    for (const other of mark?.packs ?? []) {
      if (this.#source.listing.marks.has(other) && !this.#of.has(other)) this.#of.set(other, mark);
    }
    return mark;
  }

  /** The replaced packs that are known, and for which these stand, over any number of marks; those too of which it can't be told any more. */
  async behind(packs: readonly Hash[]): Promise<Hash[]> {
    const replaced = this.#source.state.replacedPacks().map(({ name }) => name);
    const marks = new Map<Hash, Mark | null>();
    for (const name of replaced) marks.set(name, await this.of(name));
    const found = new Set(packs);
    for (let before = -1; before !== found.size;) {
      before = found.size;
      for (const [name, mark] of marks) {
        if (mark === null || mark.by.some((by) => found.has(by.name))) found.add(name);
      }
    }
    return replaced.filter((name) => found.has(name) && !packs.includes(name));
  }

  async #read(pack: Hash): Promise<Mark | null> {
    const { agent, bucket, vault, sealer, state, trust, retries } = this.#source;
    const path = markPath(agent, pack);
    const known = state.markOf(pack);
    const stored = known ?? (await retrying(retries, () => bucket.get(path, { start: 0, end: MARK_BYTES })));
    // Gone since it was listed: nobody needs it any more.
    if (stored === null) return null;
    try {
      const bytes = known ?? (await openFile(stored, sealer, "mark"));
      const mark = decodeMark(bytes, agent, pack, vault);
      // One that was believed before stays so: its device may have been taken out since.
      if (known === null && !trust.knows(mark.device, mark.key)) {
        this.notes.push(
          `a mark is not believed: ${path}: device ${mark.device} is not known here by the key that signed it`,
        );
        return null;
      }
      if (known === null) state.keepMark(pack, bytes);
      return mark;
    } catch (error) {
      if (!(error instanceof VlinderError)) throw error;
      this.notes.push(`refused a mark: ${path}: ${error.message}${error.remedy ? ` (${error.remedy})` : ""}`);
      return null;
    }
  }
}
