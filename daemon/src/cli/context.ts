import type { Client } from "@vlinder/agent-runtime";
import { asVlinderError, type Progress, VlinderError } from "@vlinder/protocol";
import type { Command } from "commander";
import { UnreachableError } from "./failure.ts";
import { ProgressBar, type ProgressStream } from "./render/progress.ts";

/** Where a command line runs: a process's streams and environment, or a test's. */
export interface Terminal {
  readonly stdin: AsyncIterable<Uint8Array | string> & {
    readonly isTTY?: boolean;
    /** Of a real terminal: what is typed comes at once, and is not shown. */
    setRawMode?(on: boolean): unknown;
  };
  readonly stdout: ProgressStream & {
    /** False: wait for `drain` before there is more. */
    write(chunk: string | Uint8Array): unknown;
    once?(event: "drain", listener: () => void): unknown;
  };
  readonly stderr: ProgressStream;
  readonly env: NodeJS.ProcessEnv;
}

/** For one try; a write that takes longer is joined by the next one, by its id. */
const TIMEOUT = 20_000;
const RETRIES = 2;
const PROBE = 2_000;
/** For what can't be asked twice, like removing an agent with all its data. */
export const PATIENT = { timeout: 120_000 };

/** What commands work with: the daemon, and how to tell of progress. */
export class Context {
  readonly terminal: Terminal;
  readonly json: boolean;
  /** Every command, loaded: for completion. */
  readonly commands: () => Promise<Command>;
  readonly #bar: ProgressBar;
  #client: Promise<Client> | null = null;

  constructor(terminal: Terminal, json: boolean, commands: () => Promise<Command>) {
    this.terminal = terminal;
    this.json = json;
    this.commands = commands;
    this.#bar = new ProgressBar(json ? { write: () => undefined } : terminal.stderr);
  }

  /** A connection to the daemon, closed when the command is over. @throws UnreachableError, denied */
  client(): Promise<Client> {
    this.#client ??= connect({});
    return this.#client;
  }

  /** Null when no daemon answers and none was named: then work that needs none can be done here. */
  async clientOrNull(): Promise<Client | null> {
    try {
      const client = await this.client();
      // The server of a daemon that was killed may still be there, with nobody behind it.
      await client.admin("daemon.status");
      return client;
    } catch (thrown) {
      const error = await this.explain(thrown);
      await this.close();
      const named = (this.terminal.env["VLINDER_URL"] ?? "") !== "";
      if (error instanceof UnreachableError && !named) return null;
      throw error;
    }
  }

  /** Shows a bar where there is a terminal. */
  readonly progress = (progress: Progress): void => this.#bar.show(progress);

  /** An error as it is to be told: where the daemon went away meanwhile, that is what is wrong. */
  async explain(thrown: unknown): Promise<VlinderError> {
    const error = asVlinderError(thrown);
    const lost = error.retryable && (error.code === "unavailable" || error.code === "timeout");
    if (this.#client === null || !lost || error instanceof UnreachableError) return error;
    return (await answers()) ? error : new UnreachableError(error);
  }

  /** Before anything is printed: the bar goes. */
  endProgress(): void {
    this.#bar.end();
  }

  async close(): Promise<void> {
    const client = await this.#client?.catch(() => null); // its failure was told already
    this.#client = null;
    await client?.close();
  }
}

async function connect(options: { readonly timeout?: number; readonly retries?: number }): Promise<Client> {
  const { Client } = await import("@vlinder/agent-runtime");
  try {
    return await Client.connect({ timeout: TIMEOUT, retries: RETRIES, name: "vlinder", ...options });
  } catch (thrown) {
    const error = asVlinderError(thrown);
    throw error.code === "unavailable" ? new UnreachableError(error) : error;
  }
}

/** Whether a daemon answers now: an `unavailable` can also be about a bucket. */
async function answers(): Promise<boolean> {
  try {
    const client = await connect({ timeout: PROBE, retries: 0 });
    try {
      await client.admin("daemon.status");
    } finally {
      await client.close();
    }
    return true;
  } catch (error) {
    // An agent's credentials may not ask for the status, but then somebody has said so.
    return !(error instanceof VlinderError && error.retryable) && !(error instanceof UnreachableError);
  }
}
