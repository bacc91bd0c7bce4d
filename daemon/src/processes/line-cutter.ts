const NEWLINE = 0x0a;
/** Of a line; the rest is counted and dropped. */
const LONGEST = 8 * 1024;
// oxlint-disable-next-line no-control-regex
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f-\x9f]/g;

/**
 * Cuts a process's output into lines that are text and nothing else: what is not UTF-8 becomes U+FFFD, control characters
 * are written out (\x1b), and a line of any length takes a bounded place in memory and in the log.
 */
export class LineCutter {
  #kept: Buffer[] = [];
  #length = 0;
  #dropped = 0;

  /** The lines that end in this chunk. */
  push(chunk: Buffer): string[] {
    const lines: string[] = [];
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      this.#keep(chunk.subarray(start, end));
      lines.push(this.#finish());
      start = end + 1;
    }
    this.#keep(chunk.subarray(start));
    return lines;
  }

  /** What is left when the output is over. */
  end(): string[] {
    return this.#length === 0 ? [] : [this.#finish()];
  }

  #keep(part: Buffer): void {
    if (part.length === 0) return;
    const kept = part.subarray(0, LONGEST - this.#length);
    // A copy: the chunk that it is a part of need not stay.
    if (kept.length > 0) this.#kept.push(Buffer.from(kept));
    this.#length += kept.length;
    this.#dropped += part.length - kept.length;
  }

  #finish(): string {
    const bytes = this.#kept.length === 1 ? (this.#kept[0] as Buffer) : Buffer.concat(this.#kept);
    const dropped = this.#dropped;
    this.#kept = [];
    this.#length = 0;
    this.#dropped = 0;
    // `stream`: a character that the cut went through is left out.
    const text = new TextDecoder()
      .decode(bytes, { stream: dropped > 0 })
      .replace(/\r$/, "")
      .replace(CONTROL, written);
    return dropped === 0 ? text : `${text} … (${dropped} bytes more)`;
  }
}

function written(one: string): string {
  return `\\x${one.charCodeAt(0).toString(16).padStart(2, "0")}`;
}
