import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { homedir, hostname } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { createFileAtomic, writeFileAtomic } from "../../src/registry/atomic-file.ts";
import { renewDevice } from "../../src/registry/device.ts";
import { type Home, homePath, openHome } from "../../src/registry/home.ts";
import { lockHome } from "../../src/registry/home-lock.ts";
import { errorOf, temporaryFolder } from "./folders.ts";

describe("the home", () => {
  test("is made for its owner only", async () => {
    const path = join(await temporaryFolder(), "a", "home");
    const home = await openHome(path);
    expect(home).toMatchObject({ path, config: join(path, "config.toml"), run: join(path, "run") });
    for (const folder of ["", "agents", "creds", "creds/agents", "run", "logs", "nats"]) {
      expect((await stat(join(path, folder))).mode & 0o777, folder).toBe(0o700);
    }
    expect((await stat(join(path, "device.json"))).mode & 0o777).toBe(0o600);
    expect(home.device).toMatch(/^[0-9a-f]{32}$/);
    expect((await openHome(path)).device).toBe(home.device);
    expect((await openHome(join(path, "other"))).device).not.toBe(home.device);
  });

  test("is where VLINDER_HOME says, or ~/.vlinder", async () => {
    expect(homePath({ VLINDER_HOME: "/x/../y" })).toBe("/y");
    expect(homePath({})).toBe(join(homedir(), ".vlinder"));
    expect((await errorOf(() => homePath({ VLINDER_HOME: "" }))).code).toBe("invalid");
  });

  test("of several that open it at once, all have the same device", async () => {
    const path = await temporaryFolder();
    const homes = await Promise.all(Array.from({ length: 20 }, () => openHome(path)));
    expect(new Set(homes.map(({ device }) => device)).size).toBe(1);
    expect((await readdir(path)).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  test("a damaged device.json is refused and not replaced", async () => {
    const path = await temporaryFolder();
    await writeFile(join(path, "device.json"), '{"v":1,"dev');
    expect(await errorOf(() => openHome(path))).toMatchObject({ code: "invalid" });
    expect(await readFile(join(path, "device.json"), "utf8")).toBe('{"v":1,"dev');
  });

  test("a device.json of a newer release is refused and not replaced", async () => {
    const path = await temporaryFolder();
    const newer = '{"v":2,"device":"somewhere else"}';
    await writeFile(join(path, "device.json"), newer);
    expect(await errorOf(() => openHome(path))).toMatchObject({
      message: `${join(path, "device.json")} has version 2; this release knows 1`,
      remedy: expect.stringContaining("update"),
    });
    expect(await readFile(join(path, "device.json"), "utf8")).toBe(newer);
  });

  test("a renewed device is the one that the home has from then on", async () => {
    const path = await temporaryFolder();
    const { device } = await openHome(path);
    const renewed = await renewDevice(join(path, "device.json"));
    expect(renewed).not.toBe(device);
    expect((await openHome(path)).device).toBe(renewed);
  });

  test("a folder that can't be made", async () => {
    const path = join(await temporaryFolder(), "file");
    await writeFile(path, "");
    expect(await errorOf(() => openHome(path))).toMatchObject({ code: "unavailable", retryable: false });
  });
});

describe("atomic files", () => {
  test("replace whole, are private, and leave nothing behind when they fail", async () => {
    const folder = await temporaryFolder();
    await writeFileAtomic(join(folder, "a"), "1");
    await writeFileAtomic(join(folder, "a"), "2");
    expect(await readFile(join(folder, "a"), "utf8")).toBe("2");
    expect((await stat(join(folder, "a"))).mode & 0o777).toBe(0o600);
    await mkdir(join(folder, "b", "c"), { recursive: true });
    await expect(writeFileAtomic(join(folder, "b"), "x")).rejects.toThrow();
    expect(await createFileAtomic(join(folder, "a"), "3")).toBe(false);
    expect(await createFileAtomic(join(folder, "d"), "4")).toBe(true);
    expect((await readdir(folder)).toSorted()).toEqual(["a", "b", "d"]);
  });
});

async function holder(home: Home): Promise<{ child: ChildProcess; said: string }> {
  const child = spawn(process.execPath, ["--expose-gc", join(import.meta.dirname, "lock-holder.ts"), home.path], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const [chunk] = (await once(child.stdout!, "data")) as [Buffer];
  return { child, said: chunk.toString().trim() };
}

async function kill(child: ChildProcess): Promise<void> {
  child.kill("SIGKILL");
  await once(child, "exit");
}

describe("the lock", () => {
  test("one daemon has the home; the second is told who has it", async () => {
    const home = await openHome(await temporaryFolder());
    const { child, said } = await holder(home);
    expect(said).toBe("locked");
    const error = await errorOf(() => lockHome(home));
    expect(error).toMatchObject({ code: "conflict", details: { home: home.path, pid: child.pid } });
    expect(error.message).toContain(`pid ${child.pid}`);
    expect(error.remedy).toContain("vlinder stop");
  });

  test("is free at once after kill -9 of its owner, many times", async () => {
    const home = await openHome(await temporaryFolder());
    for (let round = 0; round < 3; round++) {
      const { child, said } = await holder(home);
      expect(said).toBe("locked");
      await kill(child);
    }
    const lock = await lockHome(home);
    expect((await holder(home)).said).toBe("conflict");
    lock.release();
    expect((await holder(home)).said).toBe("locked");
  });

  test("a pid that was used again, and a damaged owner.json, decide nothing", async () => {
    const home = await openHome(await temporaryFolder());
    const stale = { pid: process.ppid, since: "2020-01-01T00:00:00.000Z", host: "x", nonce: "1" };
    for (const text of [JSON.stringify(stale), '{"pid":', ""]) {
      await writeFile(join(home.run, "owner.json"), text);
      (await lockHome(home)).release();
    }
    const lock = await lockHome(home);
    const dead = await holder(home);
    await kill(dead.child);
    // The last owner's, while the new one has not written its own yet.
    const last = { pid: dead.child.pid, since: new Date().toISOString(), host: hostname(), nonce: "2" };
    for (const text of ["{", JSON.stringify(last)]) {
      await writeFile(join(home.run, "owner.json"), text);
      expect((await errorOf(() => lockHome(home))).message).toContain("(another process)");
    }
    lock.release();
  });

  test("of many that start at once, one gets it", async () => {
    for (let round = 0; round < 2; round++) {
      const home = await openHome(await temporaryFolder());
      const holders = await Promise.all(Array.from({ length: 4 }, () => holder(home)));
      expect(holders.map(({ said }) => said).toSorted()).toEqual([...Array<string>(3).fill("conflict"), "locked"]);
      const winner = holders.find(({ said }) => said === "locked");
      expect(JSON.parse(await readFile(join(home.run, "owner.json"), "utf8"))).toMatchObject({
        pid: winner?.child.pid,
      });
      for (const { child } of holders) await kill(child);
    }
  });

  test("is refused twice within one process, too", async () => {
    const home = await openHome(await temporaryFolder());
    const lock = await lockHome(home);
    expect(await errorOf(() => lockHome(home))).toMatchObject({ code: "conflict", details: { pid: process.pid } });
    lock.release();
  });
});
