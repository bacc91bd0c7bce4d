import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

/** Where programs are put that only this clone uses. */
export const TOOLS = fileURLToPath(new URL("../../../.tools/", import.meta.url));

const execFileAsync = promisify(execFile);

/** A program's standard output. @throws an Error with the last lines that it printed */
export async function run(
  file: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv } = {},
): Promise<string> {
  try {
    const { stdout } = await execFileAsync(file, args, { ...options, timeout: 180_000, maxBuffer: 1 << 24 });
    return stdout;
  } catch (error) {
    const { code, stderr = "", message } = error as NodeJS.ErrnoException & { stderr?: string };
    if (code === "ENOENT") throw new Error(`there is no ${file} here`, { cause: error });
    const said = stderr.trim().split("\n").slice(-3).join(" ");
    throw new Error(`${file}: ${said || message}`, { cause: error });
  }
}
