import { access, constants, stat } from "node:fs/promises";
import { delimiter, resolve } from "node:path";
import { VlinderError } from "@vlinder/protocol";

/**
 * The file of a program: a path is relative to the agent's folder, a bare name is looked up in `searchPath`.
 * Checked before the start, since the operating system's own error says neither which of the two is missing nor what to do.
 * @throws not_found, denied, with what to do
 */
export async function findProgram(program: string, folder: string, searchPath: string): Promise<string> {
  if (!(await isFolder(folder))) {
    throw new VlinderError("not_found", `the agent's folder ${folder} is not there`, {
      remedy: "bring it back; or, if it has moved, `vlinder agent remove` (the data stays) and `vlinder agent add DIR`",
      details: { folder },
    });
  }
  const isPath = program.includes("/");
  const places = isPath ? [folder] : searchPath.split(delimiter).filter((place) => place !== "");
  let unusable: string | null = null;
  for (const place of places) {
    const file = resolve(folder, place, program);
    const use = await usable(file);
    if (use === "yes") return file;
    if (use === "not executable") unusable ??= file;
  }
  if (unusable !== null) {
    throw new VlinderError("denied", `${unusable} may not be executed`, {
      remedy: `chmod +x ${unusable}; or name what runs it, like executable = "sh ${program}"`,
      details: { program },
    });
  }
  throw new VlinderError("not_found", `there is no program ${JSON.stringify(program)}`, {
    remedy: isPath
      ? "correct executable in agent.toml: a path is relative to agent.toml's folder"
      : `install it, or write its path as executable in agent.toml; looked for in ${searchPath}`,
    details: { program },
  });
}

async function isFolder(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

async function usable(file: string): Promise<"yes" | "not executable" | "no"> {
  try {
    if (!(await stat(file)).isFile()) return "no";
  } catch {
    return "no"; // not there, or behind a folder that is closed to us: either way nothing to run
  }
  return await access(file, constants.X_OK).then(
    () => "yes",
    () => "not executable",
  );
}
