import { type Json, type Kv, type Turn, VlinderError } from "@vlinder/agent-runtime";
import { type Document, findFiles, passagesOf, readDocument, rootOf, searchText, storedText } from "./documents.ts";
import { EMBEDDER, embed } from "./hashing-embedder.ts";
import { CANDIDATES, score } from "./ranking.ts";
import { TermCounts } from "./term-counts.ts";

/** What was read of a file, under `/files/<path>`: whether it must be read again, and which passages are its. */
interface FileRecord {
  readonly hash: string;
  readonly passages: number;
}

/** `/index/state`: how many passages there were when all of them were last embedded. */
interface IndexState {
  readonly embedded: number;
}

export interface ReadResult {
  readonly files: number;
  readonly read: number;
  readonly unchanged: number;
  readonly duplicates: number;
  readonly notText: number;
  readonly removed: number;
  readonly passages: number;
}

export interface Answer {
  readonly file: string;
  readonly line: number;
  readonly text: string;
}

const TERMS = "/index/terms";
const STATE = "/index/state";
/** Files that are worked on at the same time: their puts travel together. */
const AT_ONCE = 16;
/** Records written in one commit. */
const BATCH = 500;

const passageKey = (path: string, n: number): string => `/docs/${path}#${n}`;
const pathOf = (key: string): string => key.slice("/docs/".length, key.lastIndexOf("#"));

/** Where the passages stand: in a turn. */
export type Shelves = Pick<Turn, "kv" | "vectors">;

/** The librarian's shelves: passages under `/docs/`, with a vector under the same key. */
export class Library {
  private readonly shelves: Shelves;
  private readonly kv: Kv;

  constructor(shelves: Shelves) {
    this.shelves = shelves;
    this.kv = shelves.kv;
  }

  /**
   * Brings the shelves to what the folders hold now. What is recorded about the files is written last and
   * in one piece, so a read that was interrupted is simply done again.
   */
  async read(folders: readonly string[]): Promise<ReadResult> {
    const roots = folders.map(rootOf);
    if (new Set(roots).size !== roots.length) {
      throw new VlinderError("invalid", `two folders have the same name: ${roots.join(", ")}`, {
        remedy: "a folder is known by its name: read them from a folder above, or rename one",
      });
    }
    const { documents, ...counted } = await load(folders);
    const known = await this.records(roots);
    const changed = documents.filter(({ path, hash }) => known.get(path)?.hash !== hash);
    const present = new Set(documents.map(({ path }) => path));
    const gone = [...known.keys()].filter((path) => !present.has(path));
    const result = {
      ...counted,
      read: changed.length,
      unchanged: documents.length - changed.length,
      removed: gone.length,
    };
    const counts = await this.counts();
    if (changed.length + gone.length === 0) return { ...result, passages: counts.passages };

    for (const path of [...gone, ...changed.map((document) => document.path)]) {
      for (const text of await this.texts(path, known.get(path))) counts.add(searchText(path, text), -1);
    }
    for (const { path, passages } of changed)
      for (const passage of passages) counts.add(searchText(path, storedText(passage)));

    await inGroups(changed, (document) => this.store(document, known.get(document.path), counts));
    await inGroups(gone, (path) => this.remove(path, 0, known.get(path)?.passages ?? 0));
    const embedded = await this.embedAnew(counts);
    await this.record(changed, gone, counts, embedded);
    return { ...result, passages: counts.passages };
  }

  /** The passages that answer best, best first. */
  async ask(question: string, n: number): Promise<Answer[]> {
    const counts = await this.counts();
    if (counts.passages === 0) {
      throw new VlinderError("not_found", "the librarian has read nothing yet", { remedy: "say: read FOLDER" });
    }
    const nearest = await this.shelves.vectors.search(embed(question, counts), { limit: CANDIDATES });
    const read = await Promise.all(nearest.map(async (item) => ({ item, value: await this.kv.get(item.key) })));
    return read
      .flatMap(({ item, value }) => {
        // Removed by a read that runs now.
        if (value === null) return [];
        const text = value.text();
        const { file, line } = item.metadata as { readonly file: string; readonly line: number };
        const weight = score(question, searchText(pathOf(item.key), text), counts);
        return [{ weight, answer: { file, line, text } }];
      })
      .toSorted((a, b) => b.weight - a.weight)
      .slice(0, n)
      .map(({ answer }) => answer);
  }

  private async counts(): Promise<TermCounts> {
    const value = await this.kv.get(TERMS);
    return value === null ? new TermCounts() : TermCounts.fromBytes(value.bytes);
  }

  /** What is known about the files of some folders. */
  private async records(roots: readonly string[]): Promise<Map<string, FileRecord>> {
    const paths: string[] = [];
    for (const root of roots) {
      for await (const { key } of this.kv.list(`/files/${root}/`)) paths.push(key.slice("/files/".length));
    }
    const values = await Promise.all(paths.map((path) => this.kv.get(`/files/${path}`)));
    return new Map(
      paths.flatMap((path, i) => {
        const record = values[i]?.json<FileRecord>();
        return record === undefined ? [] : [[path, record] as const];
      }),
    );
  }

  private async texts(path: string, record: FileRecord | undefined): Promise<string[]> {
    const numbers = Array.from({ length: record?.passages ?? 0 }, (_, n) => n);
    const values = await Promise.all(numbers.map((n) => this.kv.get(passageKey(path, n))));
    return values.flatMap((value) => (value === null ? [] : [value.text()]));
  }

  private async store(document: Shelved, before: FileRecord | undefined, counts: TermCounts): Promise<void> {
    const { path, title, passages } = document;
    const puts = passages.flatMap((passage, n) => {
      const text = storedText(passage);
      const metadata = { file: path, title, line: passage.line };
      const vector = embed(searchText(path, text), counts);
      const key = passageKey(path, n);
      return [this.kv.put(key, text), this.shelves.vectors.put(key, vector, { metadata, model: EMBEDDER })];
    });
    await Promise.all(puts);
    await this.remove(path, passages.length, before?.passages ?? 0);
  }

  private async remove(path: string, from: number, to: number): Promise<void> {
    const keys = Array.from({ length: Math.max(0, to - from) }, (_, i) => passageKey(path, from + i));
    await Promise.all(keys.flatMap((key) => [this.kv.delete(key), this.shelves.vectors.delete(key)]));
  }

  /**
   * The weights of words change while the shelves fill. Vectors made with older weights do for a while;
   * when the number of passages has doubled since all were made, they are made anew.
   */
  private async embedAnew(counts: TermCounts): Promise<number> {
    const state = (await this.kv.get(STATE))?.json<IndexState>();
    if (state === undefined) return counts.passages;
    if (counts.passages <= 2 * state.embedded) return state.embedded;
    const keys: string[] = [];
    for await (const { key } of this.kv.list("/docs/")) keys.push(key);
    await inGroups(keys, async (key) => {
      const [value, record] = await Promise.all([this.kv.get(key), this.shelves.vectors.get(key)]);
      if (value === null || record === null) return;
      const vector = embed(searchText(pathOf(key), value.text()), counts);
      await this.shelves.vectors.put(key, vector, { metadata: record.metadata, model: EMBEDDER });
    });
    return counts.passages;
  }

  private async record(
    changed: readonly Shelved[],
    gone: readonly string[],
    counts: TermCounts,
    embedded: number,
  ): Promise<void> {
    const json = (value: Json): string => JSON.stringify(value);
    const changes = [
      ...changed.map(({ path, hash, passages }) => {
        return { op: "put" as const, key: `/files/${path}`, value: json({ hash, passages: passages.length }) };
      }),
      ...gone.map((path) => ({ op: "delete" as const, key: `/files/${path}` })),
    ];
    for (; changes.length > BATCH;) await this.kv.batch(changes.splice(0, BATCH));
    await this.kv.batch([
      ...changes,
      { op: "put", key: TERMS, value: counts.toBytes() },
      { op: "put", key: STATE, value: json({ embedded }) },
    ]);
  }
}

type Shelved = Document & { readonly passages: ReturnType<typeof passagesOf> };

/** Every document once: packages bring the same file many times. */
async function load(
  folders: readonly string[],
): Promise<Pick<ReadResult, "files" | "duplicates" | "notText"> & { documents: Shelved[] }> {
  const files = await findFiles(folders);
  const byHash = new Map<string, Shelved>();
  let notText = 0;
  for (const file of files) {
    const document = await readDocument(file);
    if (document === null) notText++;
    else if (!byHash.has(document.hash)) byHash.set(document.hash, { ...document, passages: passagesOf(document) });
  }
  const documents = [...byHash.values()];
  return { files: files.length, duplicates: files.length - notText - documents.length, notText, documents };
}

async function inGroups<Item>(items: readonly Item[], work: (item: Item) => Promise<unknown>): Promise<void> {
  for (let i = 0; i < items.length; i += AT_ONCE) await Promise.all(items.slice(i, i + AT_ONCE).map(work));
}
