import { type FileHandle, open } from "node:fs/promises";
import { type LogItem, type LogsReply, LIMITS } from "@vlinder/protocol";

/** Bytes of the file that one page is made of: as JSON, and with what a line costs besides, they stay under a reply's limit. */
const PAGE_BYTES = 256 * 1024;
const BLOCK = 64 * 1024;
const NEWLINE = 0x0a;
const TIME_CHARS = 24;
const LINE = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (stdout|stderr|daemon) (.*)$/s;

/** One of the files that a log consists of, open. Its name changes when the log is rotated, its birth never. */
interface Part {
  readonly file: FileHandle;
  /** The time of its first line, in milliseconds. */
  readonly birth: number;
  readonly size: number;
}

/** A place in a log, before which all was read. */
interface Place {
  readonly part: number;
  readonly offset: number;
}

/**
 * A page of a log: from a position on, or from `lines` before the end. A position names a file by its birth and a byte
 * in it, so that it stays right when the log is rotated; what was rotated away meanwhile is said (`missed`).
 * @param files oldest first; those that are not there are passed over
 */
export async function readLogPage(
  files: readonly string[],
  { lines, after }: { readonly lines: number; readonly after?: string | undefined },
): Promise<Omit<LogsReply, "agent">> {
  const parts = await openParts(files);
  try {
    const last = parts.length - 1;
    if (last < 0) return { items: [], position: after ?? "0-0", more: false, missed: false };
    const found = after === undefined ? await beforeEnd(parts, lines) : placeOf(parts, after);
    const page = await readOn(parts, found ?? { part: 0, offset: 0 }, Math.min(lines, LIMITS.page));
    const { part, offset } = page.end;
    return {
      items: page.items,
      position: `${(parts[part] as Part).birth}-${offset}`,
      more: page.more,
      missed: found === null && after !== "0-0",
    };
  } finally {
    for (const { file } of parts) await file.close();
  }
}

async function openParts(files: readonly string[]): Promise<Part[]> {
  const parts: Part[] = [];
  for (const path of files) {
    const file = await open(path, "r").catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
      throw error;
    });
    if (file === null) continue;
    const head = await readAt(file, 0, TIME_CHARS);
    const birth = Date.parse(head.toString("latin1"));
    parts.push({ file, birth: Number.isNaN(birth) ? 0 : Math.max(0, birth), size: (await file.stat()).size });
  }
  return parts;
}

/** Null: it was rotated away. */
function placeOf(parts: readonly Part[], position: string): Place | null {
  const [birth, offset] = position.split("-").map(Number) as [number, number];
  const part = parts.findIndex((one) => one.birth === birth && offset <= one.size);
  return part === -1 ? null : { part, offset };
}

/** Where the last so many lines begin, or the log when it has fewer. */
async function beforeEnd(parts: readonly Part[], lines: number): Promise<Place> {
  let wanted = lines;
  for (let part = parts.length - 1; part >= 0; part--) {
    const { file, size } = parts[part] as Part;
    for (let end = size; end > 0; end -= BLOCK) {
      const start = Math.max(0, end - BLOCK);
      const block = await readAt(file, start, end - start);
      // The newline that ends the part begins no line.
      let from = end === size ? block.length - 2 : block.length - 1;
      for (let at = last(block, from); at !== -1; at = last(block, from)) {
        if (--wanted === 0) return { part, offset: start + at + 1 };
        from = at - 1;
      }
    }
    // The part's first line.
    if (size > 0 && --wanted === 0) return { part, offset: 0 };
  }
  return { part: 0, offset: 0 };
}

function last(block: Buffer, from: number): number {
  return from < 0 ? -1 : block.lastIndexOf(NEWLINE, from);
}

async function readOn(
  parts: readonly Part[],
  from: Place,
  most: number,
): Promise<{ readonly items: LogItem[]; readonly end: Place; readonly more: boolean }> {
  const items: LogItem[] = [];
  let { part, offset } = from;
  for (let bytes = PAGE_BYTES; ;) {
    const { file, size } = parts[part] as Part;
    const block = await readAt(file, offset, Math.min(bytes, size - offset));
    let start = 0;
    for (let end = block.indexOf(NEWLINE); end !== -1 && items.length < most; end = block.indexOf(NEWLINE, start)) {
      items.push(itemOf(block.toString("utf8", start, end)));
      start = end + 1;
    }
    // A file that somebody wrote into may have a line that is longer than a page.
    if (items.length === 0 && start === 0 && block.length === PAGE_BYTES) {
      items.push(itemOf(block.toString("utf8")));
      start = block.length;
    }
    offset += start;
    bytes -= start;
    const isThrough = block.indexOf(NEWLINE, start) === -1 && offset + (block.length - start) >= size;
    if (!isThrough || part === parts.length - 1) return { items, end: { part, offset }, more: !isThrough };
    part++;
    offset = 0;
  }
}

function itemOf(line: string): LogItem {
  const [, time, stream, text] = LINE.exec(line) ?? [];
  if (time === undefined) return { time: null, stream: "daemon", text: line };
  return { time, stream: stream as LogItem["stream"], text: text ?? "" };
}

async function readAt(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, offset);
  return buffer.subarray(0, bytesRead);
}
