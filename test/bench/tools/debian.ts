import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { run } from "./run.ts";

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/**
 * Unpacks Debian packages, and what they need that is not installed, into a folder: no root, nothing
 * installed. With `suite`, from that suite of the mirror that this machine uses, and without what they
 * need. @throws an Error that says why they can't be had
 */
export async function unpackDebian(packages: readonly string[], into: string, suite?: string): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), "vlinder-apt-"));
  try {
    for (const folder of ["lists/partial", "cache/archives/partial"])
      await mkdir(join(work, folder), { recursive: true });
    const options = [`Dir::State::lists=${work}/lists`, `Dir::Cache=${work}/cache`, "Debug::NoLocking=1"];
    if (process.getuid?.() === 0) options.push("APT::Sandbox::User=root");
    if (suite !== undefined) {
      const sources = join(work, "sources.list");
      await writeFile(sources, await sourceLine(suite));
      options.push(`Dir::Etc::sourcelist=${sources}`, "Dir::Etc::sourceparts=/dev/null");
    }
    const apt = (...args: string[]): Promise<string> =>
      run("apt-get", [...options.flatMap((option) => ["-o", option]), ...args], { cwd: join(work, "cache/archives") });
    await apt("update");
    if (suite === undefined) {
      await apt("install", "-y", "--no-install-recommends", "--download-only", ...packages);
    } else {
      await apt("download", ...packages);
    }
    await unpackAll(join(work, "cache/archives"), join(work, "unpacked"));
    await rm(into, { recursive: true, force: true });
    await mkdir(dirname(into), { recursive: true });
    await moveFolder(join(work, "unpacked"), into);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** The machine's own mirror and component, with another suite. */
async function sourceLine(suite: string): Promise<string> {
  const release = existsSync("/etc/os-release") ? await readFile("/etc/os-release", "utf8") : "";
  const codename = /^VERSION_CODENAME=(\w+)$/m.exec(release)?.[1];
  if (!/^ID=debian$/m.test(release) || codename === undefined) throw new Error("this is no Debian");
  const format = "$(IDENTIFIER) $(RELEASE) $(REPO_URI) $(COMPONENT)";
  const targets = await run("apt-get", ["indextargets", "--no-release-info", "--format", format]);
  const found = targets
    .split("\n")
    .map((line) => line.split(" "))
    .find(([kind, of]) => kind === "Packages" && of === codename);
  if (found === undefined) throw new Error(`apt has no source for ${codename}`);
  const signed = existsSync(KEYRING) ? ` [signed-by=${KEYRING}]` : "";
  return `deb${signed} ${found[2]} ${suite} ${found[3]}\n`;
}

async function unpackAll(from: string, into: string): Promise<void> {
  await mkdir(into);
  const files = (await readdir(from)).filter((name) => name.endsWith(".deb"));
  if (files.length === 0) throw new Error("apt-get downloaded no package");
  for (const file of files) await run("dpkg-deb", ["-x", join(from, file), into]);
}

/** The temporary folder may be another file system than the clone's. */
async function moveFolder(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EXDEV") throw error;
    await run("cp", ["-a", from, to]);
  }
}
