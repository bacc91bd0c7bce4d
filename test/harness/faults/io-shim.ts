import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Fault } from "./fault.ts";

const SOURCE = fileURLToPath(new URL("io-shim.c", import.meta.url));
/** `KILL` ends the process (SIGKILL) at the call. */
const NUMBERS = { EIO: 5, ENOSPC: 28, EROFS: 30, KILL: -9 } as const;

/** Which calls fail. */
export interface ShimFault {
  /** `fsync-lost` loses what was written since the last fsync. */
  readonly call: "write" | "fsync" | "fsync-lost";
  readonly error: keyof typeof NUMBERS;
  /** Calls that go through first; default none. */
  readonly skip?: number;
  /** Calls that fail; default all. */
  readonly count?: number;
  /** In the path of the file. */
  readonly file: string;
}

function why(): string | null {
  if (process.platform !== "linux") return "LD_PRELOAD is Linux's";
  try {
    execFileSync("cc", ["--version"], { stdio: "ignore" });
    return null;
  } catch {
    return "there is no C compiler (cc) to build the shim with";
  }
}

export const SHIM_SKIP = why();

/** The preloaded library, with a control file of its own. */
export class IoShim {
  readonly #folder = mkdtempSync(path.join(tmpdir(), "vlinder-shim-"));
  readonly #control = path.join(this.#folder, "control");

  constructor() {
    const library = path.join(this.#folder, "io-shim.so");
    execFileSync("cc", ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, SOURCE, "-ldl"]);
  }

  get env(): Readonly<Record<string, string>> {
    return { LD_PRELOAD: path.join(this.#folder, "io-shim.so"), VLINDER_FAULTS: this.#control };
  }

  set({ call, error, skip = 0, count = 0, file }: ShimFault): void {
    // At once: half a line would be another fault.
    writeFileSync(`${this.#control}.new`, `${call} ${NUMBERS[error]} ${skip} ${count} ${file}`);
    renameSync(`${this.#control}.new`, this.#control);
  }

  clear(): void {
    rmSync(this.#control, { force: true });
  }

  /** Faults that happened so far. */
  fired(): number {
    const file = `${this.#control}.fired`;
    return existsSync(file) ? readFileSync(file, "utf8").split("\n").length - 1 : 0;
  }

  dispose(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** A fault of the preloaded library. */
export function shimFault(name: string, fault: ShimFault): Fault {
  let shim: IoShim | null = null;
  return {
    name: `${name} (preloaded shim)`,
    skip: SHIM_SKIP,
    prepare: (daemon) => {
      shim = new IoShim();
      Object.assign(daemon.environment, shim.env);
    },
    inject: () => shim?.set(fault),
    heal: () => shim?.clear(),
    fired: () => shim?.fired() ?? 0,
    dispose: () => shim?.dispose(),
  };
}
