import { mkdir, readdir, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { type AgentName, invalid, parseAgentName, VlinderError } from "@vlinder/protocol";
import { linkSdk } from "./sdk-link.ts";

/**
 * Writes a small agent to start from into a folder that is empty or not there yet, so that it runs as it is. Its name is
 * the folder's. Returns the files, absolute, and the link to the SDK where one was needed.
 * @throws conflict: the folder is not empty; invalid: no name can be made of the folder's
 */
export async function writeTemplate(
  dir: string,
): Promise<{ readonly name: AgentName; readonly files: readonly string[]; readonly link: string | null }> {
  const folder = resolve(dir);
  const name = nameOf(folder);
  await mkdir(folder, { recursive: true });
  if ((await readdir(folder)).length > 0) {
    throw new VlinderError("conflict", `${folder} is not empty`, {
      remedy: "name a new folder",
      details: { dir: folder },
    });
  }
  const files = [];
  for (const [file, text] of Object.entries(templateOf(name))) {
    const path = join(folder, file);
    await writeFile(path, text, { flag: "wx" });
    files.push(path);
  }
  return { name, files, link: await linkSdk(folder) };
}

function nameOf(folder: string): AgentName {
  const name = basename(folder)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 64);
  if (name !== "") return parseAgentName(name);
  throw invalid(`no agent's name can be made of ${folder}`, {
    remedy: "name a folder with letters a-z or digits in it",
  });
}

function templateOf(name: AgentName): Readonly<Record<string, string>> {
  return {
    "agent.toml": `# What this agent needs. \`vlinder agent plan .\` shows what registration would make.
name = "${name}"
description = "Remembers what it was told"

# The daemon starts it, and starts it again when it ends; \`vlinder logs ${name}\` shows what it prints.
runtime = "process"
executable = "node main.ts"

# Values and their history: a file in $VLINDER_HOME/agents/${name}/.
object_storage = "sqlite://objects.db"

# Search by meaning; absent, there is none.
# vector_storage = "sqlite://vectors.db"

# Two turns at once, or two machines, that each add to it end with both.
[merge]
"/told.json" = "json"
`,
    "main.ts": `import { serve } from "@vlinder/agent-runtime";

// Called for each turn. What it writes is seen by nobody else before it returns; when it throws, nothing of it stays.
const server = await serve("${name}", async (turn) => {
  const told = (await turn.kv.get("/told.json"))?.json<string[]>() ?? [];
  await turn.kv.putJson("/told.json", [...told, turn.input]);
  return [...told, turn.input].map((line, i) => \`\${i + 1}. \${line}\\n\`).join("");
});
process.once("SIGTERM", () => void server.close());
await server.closed;
`,
    "package.json": `${JSON.stringify(
      {
        name,
        version: "0.1.0",
        private: true,
        type: "module",
        engines: { node: ">=22.18" },
        scripts: { start: "node main.ts" },
        dependencies: { "@vlinder/agent-runtime": "^0.1.0" },
      },
      null,
      2,
    )}\n`,
    ".gitignore": "node_modules/\n",
  };
}
