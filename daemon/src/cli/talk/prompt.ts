import { createInterface, type Interface } from "node:readline";
import type { Readable } from "node:stream";
import { shownText } from "../render/text.ts";
import { HISTORY } from "./line-history.ts";
import { MessageLines, type Said } from "./message-lines.ts";
import { Screen, type ScreenOutput } from "./screen.ts";

export interface PromptOptions {
  readonly input: Readable;
  readonly output: ScreenOutput;
  /** Lines of earlier sessions, newest first. */
  readonly history: string[];
  /** Told of each line that was typed. */
  readonly remember: (line: string) => void;
}

const FIRST = "> ";
const MORE = ". ";
const PASTE = { on: "\x1b[?2004h", off: "\x1b[?2004l" };

/**
 * Where messages are typed. One line editor for the whole session: what is typed while a turn runs shows when the
 * turn is over, and Ctrl-C always comes here.
 */
export class Prompt {
  readonly #screen: Screen;
  readonly #lines = new MessageLines();
  readonly #editor: Interface;
  readonly #input: Readable;
  /** What was said while nobody asked. */
  readonly #said: Said[] = [];
  #isPasting = false;
  #isOver = false;
  #waiting: ((said: Said | null) => void) | null = null;
  #interrupt: (() => void) | null = null;

  constructor({ input, output, history, remember }: PromptOptions) {
    this.#input = input;
    this.#screen = new Screen(output);
    // Before the editor hears of a key: a pasted line is no message.
    input.on("keypress", this.#key);
    this.#editor = createInterface({
      input,
      output: this.#screen,
      terminal: true,
      history,
      historySize: HISTORY.lines,
      removeHistoryDuplicates: true,
      prompt: FIRST,
    });
    this.#editor.on("line", (line) => {
      remember(line);
      this.#line(line);
    });
    this.#editor.on("SIGINT", () => this.#ctrlC());
    this.#editor.on("close", () => {
      this.#isOver = true;
      this.#waiting?.(null);
    });
    this.#screen.say(PASTE.on);
  }

  /** What is said next; null: the session is over. */
  next(): Promise<Said | null> {
    const said = this.#said.shift();
    if (said !== undefined) {
      this.#screen.say(`${FIRST}${shownText(said.text).replaceAll("\n", `\n${MORE}`)}\n`);
      return Promise.resolve(said);
    }
    if (this.#isOver) return Promise.resolve(null);
    return new Promise((resolve) => {
      this.#waiting = (next) => {
        this.#waiting = null;
        resolve(next);
      };
      this.#ask();
    });
  }

  /** Does work while what is typed does not show; Ctrl-C calls `interrupt`. */
  async during<T>(interrupt: () => void, work: () => Promise<T>): Promise<T> {
    this.#screen.isMuted = true;
    this.#interrupt = interrupt;
    // From somebody else, or when the input has ended and the terminal is no longer ours.
    process.on("SIGINT", interrupt);
    try {
      return await work();
    } finally {
      process.off("SIGINT", interrupt);
      this.#interrupt = null;
      this.#screen.isMuted = false;
    }
  }

  /** Gives the terminal back. */
  close(): void {
    this.#screen.say(PASTE.off);
    this.#editor.close();
    this.#input.off("keypress", this.#key);
    this.#screen.close();
  }

  readonly #key = (_text: unknown, key?: { readonly name?: string }): void => {
    if (key?.name === "paste-start") this.#isPasting = true;
    if (key?.name === "paste-end") this.#isPasting = false;
  };

  #line(line: string): void {
    const said = this.#lines.take(line, this.#isPasting);
    if (said === null) {
      if (this.#waiting !== null) this.#ask();
    } else if (this.#waiting === null) this.#said.push(said);
    else this.#waiting(said);
  }

  #ask(): void {
    this.#editor.setPrompt(this.#lines.isOpen ? MORE : FIRST);
    // The editor believes that what was typed while it was muted stands on the screen, over several rows.
    (this.#editor as { prevRows?: number }).prevRows = 0;
    this.#editor.prompt(true);
  }

  #ctrlC(): void {
    if (this.#interrupt !== null) {
      this.#interrupt();
      return;
    }
    const isEmpty = this.#editor.line === "" && !this.#lines.isOpen;
    this.#lines.clear();
    this.#editor.write(null, { ctrl: true, name: "e" });
    this.#editor.write(null, { ctrl: true, name: "u" });
    this.#screen.say(isEmpty ? "(Ctrl-D ends)\n" : "^C\n");
    this.#ask();
  }
}
