import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

/** Why no file system can be mounted here; null: it can. */
export const MOUNT_SKIP = ((): string | null => {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return "mounting a file system needs root on Linux";
  const folder = mkdtempSync(path.join(tmpdir(), "vlinder-probe-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", folder], { stdio: "ignore" });
    execFileSync("umount", [folder]);
    return null;
  } catch {
    return "mounting a file system is not allowed here";
  } finally {
    rmSync(folder, { recursive: true });
  }
})();

/** A disk of its own, a tmpfs of some size, that can be filled up. */
export class SmallDisk {
  readonly folder = mkdtempSync(path.join(tmpdir(), "vlinder-disk-"));

  constructor(size: string) {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", this.folder]);
  }

  path(name: string): string {
    const folder = path.join(this.folder, name);
    mkdirSync(folder, { recursive: true });
    return folder;
  }

  /** Until nothing more goes in. */
  fill(): void {
    const file = openSync(path.join(this.folder, "ballast"), "a");
    try {
      for (let size = 65_536; size > 0; size >>= 1) {
        try {
          for (;;) writeSync(file, Buffer.alloc(size));
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
        }
      }
    } finally {
      closeSync(file);
    }
  }

  free(): void {
    rmSync(path.join(this.folder, "ballast"), { force: true });
  }

  dispose(): void {
    // What was just killed may still have it open.
    execFileSync("umount", ["-l", this.folder]);
    rmSync(this.folder, { recursive: true, force: true });
  }
}
