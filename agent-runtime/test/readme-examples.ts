import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export interface Example {
  /** The heading that it stands under, and its line, for test names. */
  readonly title: string;
  readonly code: string;
  /** What its `// →` comments say that it prints, in order. */
  readonly output: readonly string[];
}

const folder = fileURLToPath(new URL("..", import.meta.url));

/** The programs of the README: its blocks of TypeScript, each whole. */
export async function readmeExamples(): Promise<Example[]> {
  const text = await readFile(join(folder, "README.md"), "utf8");
  return [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map((match) => {
    const before = text.slice(0, match.index);
    const heading =
      before
        .match(/^#+ (.*)$/gm)
        ?.at(-1)
        ?.replace(/^#+ /, "") ?? "";
    const code = match[1] as string;
    const output = [...code.matchAll(/^\s*\/\/ → (.*)$/gm)].map((line) => line[1] as string);
    return { title: `${heading} (line ${before.split("\n").length})`, code, output };
  });
}

/** Runs an example as a program of its own, as a reader would, and gives the lines that it prints. */
export async function runExample(example: Example, environment: Readonly<Record<string, string>>): Promise<string[]> {
  // In the workspace, since that is where "@vlinder/agent-runtime" is found.
  const place = await mkdtemp(join(folder, "test", ".example-"));
  try {
    const file = join(place, "example.ts");
    await writeFile(file, example.code);
    return await run(file, environment);
  } finally {
    await rm(place, { recursive: true, force: true });
  }
}

function run(file: string, environment: Readonly<Record<string, string>>): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [file], { env: { ...process.env, ...environment } });
    let printed = "";
    let complaint = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (printed += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (complaint += text));
    child.once("error", reject);
    child.once("close", (code) => {
      if (code === 0) resolve(printed.split("\n").slice(0, -1));
      else reject(new Error(`the example ended with ${code}: ${complaint}`));
    });
  });
}
