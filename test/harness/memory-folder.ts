import { existsSync } from "node:fs";
import { tmpdir } from "node:os";

/** Where tests that make many small files have them: in memory, where there is such a folder. An fsync costs nothing there. */
export const MEMORY_FOLDER = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
