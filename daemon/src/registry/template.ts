import { mkdir, readdir, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { type AgentName, invalid, parseAgentName, VlinderError } from "@vlinder/protocol";

/**
 * Writes a small agent to start from into a folder that is empty or not there yet. Its name is the
 * folder's. Returns the files, absolute. @throws conflict: the folder is not empty; invalid: no name
 * can be made of the folder's
 */
export async function writeTemplate(
  dir: string,
): Promise<{ readonly name: AgentName; readonly files: readonly string[] }> {
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
  return { name, files };
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
description = "Keeps a note and counts how often it ran"

# Values and their history: a file in $VLINDER_HOME/agents/${name}/.
object_storage = "sqlite://objects.db"

# Search by meaning; absent, there is none.
# vector_storage = "sqlite://vectors.db"
`,
    "main.ts": `import { connect } from "@vlinder/agent-runtime";

const vlinder = await connect({ agent: "${name}" });
const before = await vlinder.kv.get("/runs.txt");
const runs = Number(before?.text() ?? "0") + 1;
await vlinder.kv.put("/runs.txt", String(runs));
await vlinder.kv.put("/hello.txt", \`Hello, run \${runs}\`);
console.log((await vlinder.kv.get("/hello.txt"))?.text());
await vlinder.close();
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
  };
}
