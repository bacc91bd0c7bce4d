import { execFileSync } from "node:child_process";
import { chmod, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { checkNode } from "../../src/cli/doctor/machine.ts";
import { openHome } from "../../src/registry/home.ts";
import { lockHome } from "../../src/registry/home-lock.ts";
import { documentOf, PROGRAM, startDaemon, temporary, vlinder } from "./harness.ts";

let folder: Awaited<ReturnType<typeof temporary>>;
let home: string;
let bucket: string;

beforeEach(async () => {
  folder = await temporary();
  home = join(folder.path, "home");
  bucket = join(folder.path, "bucket");
  process.env["VLINDER_HOME"] = home;
  process.env["VLINDER_URL"] = "";
});
afterEach(() => folder.remove());

describe("while the daemon is down", () => {
  test.each([
    [["status"]],
    [["env"]],
    [["stop"]],
    [["agent", "list"]],
    [["agent", "add", "."]],
    [["kv", "get", "todo", "/a"]],
    [["kv", "put", "todo", "/a", "1"]],
    [["vector", "list", "todo"]],
    [["log", "todo"]],
    [["verify", "todo"]],
    [["sync", "push"]],
  ])("%j is exit code 3, with the line to start it", async (argv) => {
    const told = await vlinder(argv);
    expect(told).toMatchObject({ code: 3, out: "" });
    expect(told.err).toContain("what to do: start it: `vlinderd`, or in a clone `npx vlinderd`");
    const ran = await vlinder([...argv, "--json"]);
    expect([ran.code, documentOf(ran)]).toMatchObject([3, { error: { code: "unavailable" } }]);
    await expect(readdir(home)).rejects.toThrow("ENOENT");
  });

  test("so it is when the one that is named does not answer, also for init", async () => {
    process.env["VLINDER_URL"] = "nats://127.0.0.1:1";
    expect((await vlinder(["status"])).code).toBe(3);
    expect((await vlinder(["init", bucket])).code).toBe(3);
    await expect(readdir(home)).rejects.toThrow("ENOENT");
  });

  test("init makes the bucket, and joins it the second time", async () => {
    const first = documentOf(await vlinder(["init", bucket, "--json"]));
    expect(first).toMatchObject({ bucket: `file://${bucket}`, created: true });
    const second = await vlinder(["init", bucket]);
    expect(second.out).toContain("joined");
    expect(second.out).toContain("vlinderd");
  });

  test("init waits for nobody: a home that is taken is a conflict", async () => {
    const lock = await lockHome(await openHome(home));
    const ran = await vlinder(["init", bucket, "--json"]);
    expect([ran.code, documentOf(ran)]).toMatchObject([1, { error: { code: "conflict" } }]);
    lock.release();
    expect((await vlinder(["init", bucket])).code).toBe(0);
  });

  test("doctor says so, and checks the rest", async () => {
    const ran = await vlinder(["doctor", "--json"]);
    const checks = documentOf(ran)["checks"] as { check: string; result: string; remedy: string | null }[];
    const results = Object.fromEntries(checks.map(({ check, result }) => [check, result]));
    expect(ran.code).toBe(1);
    expect(results).toMatchObject({ node: "ok", home: "ok", config: "ok", daemon: "failed", bucket: "skipped" });
    for (const { result, remedy } of checks) expect(remedy !== null).toBe(result === "failed" || result === "warning");
    await expect(readdir(home)).rejects.toThrow("ENOENT");
  });

  test("doctor finds what is wrong with config.toml, the home and the server program", async () => {
    await mkdir(join(home, "creds"), { recursive: true });
    await chmod(home, 0o700);
    await chmod(join(home, "creds"), 0o700);
    await writeFile(join(home, "config.toml"), "[nats]\nprot = 1\n");
    await writeFile(join(home, "creds", "admin.creds"), "secret");
    await chmod(join(home, "creds", "admin.creds"), 0o644);
    const first = await vlinder(["doctor"]);
    expect(first.out).toMatch(/failed +config +.*config\.toml:2:1: /);
    expect(first.out).toMatch(/failed +home +others may use .*admin\.creds \(mode 644\)/);
    expect(first.out).toContain(`what to do: chmod go-rwx ${join(home, "creds", "admin.creds")}`);
    expect(first.out).toMatch(/skipped +nats-server/);
    await writeFile(join(home, "config.toml"), "");
    const second = await vlinder(["doctor"], { env: { VLINDER_NATS_SERVER: "/no/such/program" } });
    expect(second.out).toMatch(/failed +nats-server +VLINDER_NATS_SERVER names no program/);
  });

  test("doctor knows an old Node", () => {
    expect(checkNode("22.17.1").result).toBe("failed");
    expect([checkNode("22.18.0").result, checkNode("24.0.0").result]).toEqual(["ok", "ok"]);
  });
});

describe("clone", () => {
  test("on a new machine, with and without a daemon, brings every agent; another vault is refused", async () => {
    const one = await startDaemon(home);
    let state: unknown;
    try {
      await vlinder(["agent", "new", join(folder.path, "todo")]);
      await vlinder(["agent", "add", join(folder.path, "todo")]);
      state = documentOf(await vlinder(["kv", "put", "todo", "/a", "from afar", "--json"]))["state"];
      expect((await vlinder(["init", bucket])).code).toBe(0);
      expect((await vlinder(["sync", "push"])).code).toBe(0);
    } finally {
      await one.stop();
    }

    process.env["VLINDER_HOME"] = join(folder.path, "second");
    const empty = join(folder.path, "empty");
    await mkdir(empty);
    const nothing = await vlinder(["clone", empty, "--json"]);
    expect([nothing.code, documentOf(nothing)]).toMatchObject([1, { error: { code: "not_found" } }]);
    expect(await readdir(empty)).toEqual([]);
    await expect(readdir(join(folder.path, "second"))).rejects.toThrow("ENOENT");

    const cloned = await vlinder(["clone", bucket]);
    expect(cloned).toMatchObject({ code: 0, err: "" });
    expect(cloned.out).toMatch(/^cloned .*\n/);
    expect(cloned.out).toContain("next: vlinderd");
    const two = await startDaemon(process.env["VLINDER_HOME"]);
    try {
      expect((await vlinder(["kv", "get", "todo", "/a"])).out).toBe("from afar");
      const [item] = documentOf(await vlinder(["agent", "list", "--json"]))["items"] as { state: string; dir: null }[];
      expect(item).toMatchObject({ state, dir: null });
    } finally {
      await two.stop();
    }

    process.env["VLINDER_HOME"] = join(folder.path, "third");
    const three = await startDaemon(process.env["VLINDER_HOME"]);
    try {
      const ran = documentOf(await vlinder(["clone", bucket, "--json"]));
      expect(ran["agents"]).toMatchObject([{ agent: "todo", created: true, error: null }]);
      expect((await vlinder(["kv", "get", "todo", "/a"])).out).toBe("from afar");
    } finally {
      await three.stop();
    }

    process.env["VLINDER_HOME"] = join(folder.path, "fourth");
    expect((await vlinder(["init", join(folder.path, "other-bucket")])).code).toBe(0);
    const refused = await vlinder(["clone", bucket, "--json"]);
    expect([refused.code, documentOf(refused)]).toMatchObject([1, { error: { code: "denied" } }]);
  }, 90_000);
});

test("stop ends the daemon", async () => {
  const daemon = await startDaemon(home);
  try {
    const stopped = documentOf(await vlinder(["stop", "--json"]));
    expect(stopped).toEqual({ stopped: true, pid: daemon.pid, home });
    expect((await vlinder(["status"])).code).toBe(3);
    expect(() => process.kill(daemon.pid, 0)).toThrow("ESRCH");
  } finally {
    await daemon.stop();
  }
}, 60_000);

test("a daemon that was killed does not stand in the way of init", async () => {
  const killed = await startDaemon(home);
  process.kill(killed.pid, "SIGKILL");
  await killed.stop();
  try {
    // Its nats-server is still there, and nobody behind it.
    expect((await vlinder(["status"])).code).toBe(3);
    expect(documentOf(await vlinder(["init", bucket, "--json"]))["created"]).toBe(true);
  } finally {
    // The next daemon ends the server that the killed one left.
    const next = await startDaemon(home);
    const status = await vlinder(["sync", "status", "--json"]);
    await next.stop();
    expect(documentOf(status)["bucket"]).toBe(`file://${bucket}`);
  }
}, 60_000);

describe("completion", () => {
  async function completed(...words: string[]): Promise<string[]> {
    const { out } = await vlinder(["completion", "bash"]);
    const script = join(folder.path, "completion.bash");
    await writeFile(script, out);
    const shown = execFileSync(
      "bash",
      [
        "-euc",
        'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vlinder; printf "%s\\n" "${COMPREPLY[@]}"',
        script,
        ...words,
      ],
      { encoding: "utf8", cwd: folder.path },
    );
    return shown.split("\n").filter((line) => line !== "");
  }

  test("bash sources it without a word, and completes commands, options and agents", async () => {
    await mkdir(join(home, "agents", "todo"), { recursive: true });
    await mkdir(join(home, "agents", "$(touch hacked)"));
    expect(await completed("vlinder", "s")).toEqual(["status", "stop", "service", "session", "show", "sync"]);
    expect(await completed("vlinder", "kv", "")).toEqual(["put", "get", "list", "delete", "history", "blame", "watch"]);
    expect(await completed("vlinder", "kv", "get", "")).toEqual(["todo"]);
    expect(await readdir(folder.path)).not.toContain("hacked");
    expect(await completed("vlinder", "kv", "get", "todo", "--")).toEqual([
      "--range",
      "--out",
      "--at",
      "--branch",
      "--json",
    ]);
    expect(await completed("vlinder", "log", "*", "--b")).toEqual(["--branch"]);
  });

  test.each(["zsh", "fish"])("%s gets every command, with quotes that are closed", async (shell) => {
    const { code, out } = await vlinder(["completion", shell]);
    expect(code).toBe(0);
    for (const word of ["status", "agent", "history", "reindex", "uninstall"]) expect(out).toContain(word);
    // The quoting is that of sh, too: it reads the words of each line without an open quote.
    if (shell === "zsh") execFileSync("bash", ["-n"], { input: out.replaceAll(/\$\{\(f\)/g, "${") });
  });
});

describe("as a process", () => {
  function start(argv: string[], options: { env?: NodeJS.ProcessEnv } = {}): string {
    return execFileSync(process.execPath, [PROGRAM, ...argv], {
      encoding: "utf8",
      env: { ...process.env, ...options.env },
      stdio: ["pipe", "pipe", "pipe"],
    });
  }

  test("help reads little more than commander, so that it is there at once", async () => {
    const counter = join(folder.path, "counter.mjs");
    const counted = join(folder.path, "counted");
    await writeFile(
      counter,
      `import { registerHooks } from "node:module";
      import { statSync, writeFileSync } from "node:fs";
      let bytes = 0;
      registerHooks({
        load(url, context, next) {
          if (url.startsWith("file:")) bytes += statSync(new URL(url)).size;
          return next(url, context);
        },
      });
      process.on("exit", () => writeFileSync(${JSON.stringify(counted)}, String(bytes)));`,
    );
    const env = { NODE_OPTIONS: `--import=${counter}` };
    expect(start(["--help"], { env })).toContain("Usage: vlinder");
    // Commander has 88 kB in one file; what checks messages, and NATS, have 700.
    expect(Number(await readFile(counted, "utf8"))).toBeLessThan(250_000);
    expect(() => start(["status"], { env })).toThrow("no daemon");
    expect(Number(await readFile(counted, "utf8"))).toBeGreaterThan(500_000);
  });

  test("exit codes and streams are a process's own", () => {
    expect(() => start(["status"])).toThrow(expect.objectContaining({ status: 3 }));
    expect(() => start(["nonsense"])).toThrow(expect.objectContaining({ status: 2 }));
    expect(start(["--version"])).toMatch(/^\d+\.\d+\.\d+\n$/);
    expect(start(["help", "kv", "put"])).toContain("--expect");
    expect(start([])).toContain("Usage: vlinder");
  });

  test("a reader that has read enough is no error", () => {
    const command = `"${process.execPath}" "${PROGRAM}" --help | { exec <&-; sleep 2; }; echo "\${PIPESTATUS[0]}"`;
    expect(execFileSync("bash", ["-c", command], { encoding: "utf8" })).toBe("0\n");
  });
});
