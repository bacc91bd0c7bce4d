import { LIMITS } from "@vlinder/protocol";
import { shownText, textOf } from "../render/text.ts";
import { size } from "../render/size.ts";

/** Bytes that no line end may follow. */
const BINARY = "binary";

/**
 * A turn's output, as it comes: the parts that its agent emits are taken as the beginning of the output, and at the end
 * only what they lack of it is written. When the output is something else than the parts in sum, it follows them, on a
 * line of its own. A terminal gets text that only shows.
 */
export class ShownOutput {
  readonly #write: (chunk: string | Uint8Array) => void;
  readonly #terminal: boolean;
  /** The parts in sum; null: more than an output can have. */
  #emitted: string | null = "";
  /** The last character that was written. */
  #last = "";
  /** A carriage return that may belong to the line feed of the next part. */
  #held = "";

  constructor(write: (chunk: string | Uint8Array) => void, terminal: boolean) {
    this.#write = write;
    this.#terminal = terminal;
  }

  /** Whether anything is written yet. */
  get hasBegun(): boolean {
    return this.#last !== "";
  }

  part(text: string): void {
    if (this.#emitted !== null) this.#emitted += text;
    if ((this.#emitted?.length ?? 0) > 2 * LIMITS.valueBytes) this.#emitted = null;
    this.#text(text);
  }

  /** Null: the agent gave none, and what it emitted stands for itself. */
  end(output: Uint8Array | null): void {
    const text = output === null ? null : textOf(output);
    if (text !== null) this.#rest(text);
    else if (output !== null) this.#binary(output);
    this.#text("", true);
    if (this.#last !== BINARY) this.#ownLine();
  }

  #rest(text: string): void {
    const emitted = this.#emitted;
    if (emitted !== null && text.startsWith(emitted)) this.#text(text.slice(emitted.length));
    else if (emitted === null || text.trimEnd() !== emitted.trimEnd()) {
      this.#ownLine();
      this.#text(text);
    }
  }

  #binary(output: Uint8Array): void {
    this.#ownLine();
    if (this.#terminal) {
      this.#text(`not text: ${size(output.length)}; for all of it: --json, or > FILE\n`);
      return;
    }
    this.#last = BINARY;
    this.#write(output);
  }

  #ownLine(): void {
    if (this.hasBegun && this.#last !== "\n") this.#text("\n");
  }

  #text(text: string, whole = false): void {
    let all = this.#held + text;
    this.#held = "";
    if (this.#terminal && !whole && all.endsWith("\r")) {
      this.#held = "\r";
      all = all.slice(0, -1);
    }
    if (all === "") return;
    this.#last = all.at(-1) as string;
    this.#write(this.#terminal ? shownText(all) : all);
  }
}
