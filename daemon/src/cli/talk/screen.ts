import { Writable } from "node:stream";

/** What an output must have that people type at. */
export interface ScreenOutput {
  readonly columns?: number;
  write(chunk: string | Uint8Array): unknown;
  on?(event: "resize", listener: () => void): unknown;
  off?(event: "resize", listener: () => void): unknown;
}

/** The terminal as the line editor sees it: while it is muted, what is typed shows nowhere. */
export class Screen extends Writable {
  isMuted = false;
  readonly #output: ScreenOutput;
  readonly #resized = (): void => void this.emit("resize");

  constructor(output: ScreenOutput) {
    super();
    this.#output = output;
    output.on?.("resize", this.#resized);
  }

  get columns(): number {
    const { columns = 0 } = this.#output;
    // Terminals without a size say 0.
    return columns === 0 ? 80 : columns;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (!this.isMuted) this.#output.write(chunk);
    done();
  }

  /** Past the line editor. */
  say(text: string | Uint8Array): void {
    this.#output.write(text);
  }

  close(): void {
    this.#output.off?.("resize", this.#resized);
  }
}
