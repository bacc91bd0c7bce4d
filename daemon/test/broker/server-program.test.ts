import { mkdir, realpath, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { findServerProgram } from "../../src/broker/server-program.ts";
import { isAtLeast } from "../../src/broker/version.ts";
import { newHome } from "./harness.ts";

/** A program called nats-server that says which version it is. */
async function fake(folder: string, version: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  const file = path.join(await realpath(folder), "nats-server");
  await writeFile(file, `#!/bin/sh\necho "nats-server: v${version}"\n`, { mode: 0o755 });
  return file;
}

describe("the nats-server program", () => {
  it("is the one that VLINDER_NATS_SERVER names, before PATH, before .tools", async () => {
    const home = await newHome();
    const named = await fake(path.join(home, "named"), "2.9.10");
    const onPath = await fake(path.join(home, "path"), "2.10.0");
    const inTools = await fake(path.join(home, ".tools/nats/usr/sbin"), "2.11.1");
    const from = path.join(home, "daemon/src/broker");
    const PATH = `/nowhere:${path.dirname(onPath)}`;
    expect(await findServerProgram({ PATH, VLINDER_NATS_SERVER: named }, from)).toEqual({
      file: named,
      version: "2.9.10",
    });
    expect(await findServerProgram({ PATH }, from)).toEqual({ file: onPath, version: "2.10.0" });
    expect(await findServerProgram({ PATH: "/nowhere" }, from)).toEqual({
      file: path.join(home, path.relative(await realpath(home), inTools)),
      version: "2.11.1",
    });
  });

  it("is a clear error with the line to install it when there is none", async () => {
    const nothing = findServerProgram({ PATH: "" }, await newHome());
    await expect(nothing).rejects.toThrow(expect.objectContaining({ code: "unavailable", retryable: false }));
    const { remedy } = (await nothing.catch((error: unknown) => error)) as { remedy: string };
    for (const line of ["apt-get install nats-server", "brew install nats-server", "choco install nats-server"]) {
      expect(remedy).toContain(line);
    }
  });

  it("is refused when it is too old, or can't be run", async () => {
    const home = await newHome();
    const old = await fake(home, "2.8.4");
    await expect(findServerProgram({ VLINDER_NATS_SERVER: old })).rejects.toThrow(/2\.8\.4; vlinder needs 2\.9\.10/);
    await writeFile(old, "#!/bin/sh\nexit 3\n");
    await expect(findServerProgram({ VLINDER_NATS_SERVER: old })).rejects.toThrow(/can't be run/);
  });

  it.each([
    ["2.9.10", true],
    ["2.10.0", true],
    ["2.11.0-preview.1", true],
    ["3.0.0", true],
    ["2.9.9", false],
    ["1.99.99", false],
  ])("of version %s is new enough: %s", (version, expected) => {
    expect(isAtLeast(version, "2.9.10")).toBe(expected);
  });
});
