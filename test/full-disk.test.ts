import { readdir } from "node:fs/promises";
import path from "node:path";
import type { AgentName } from "@vlinder/protocol";
import { describe, expect, onTestFinished, test } from "vitest";
import { MOUNT_SKIP, SmallDisk } from "./harness/faults/full-disk.ts";
import { IoShim, SHIM_SKIP, type ShimFault } from "./harness/faults/io-shim.ts";
import { until } from "./harness/processes.ts";
import { IS_LONG } from "./harness/long.ts";
import { newStage, SYNC_BY_HAND } from "./harness/stage.ts";
import type { TestDaemon } from "./harness/test-daemon.ts";

const stage = newStage();
const AGENT = "todo" as AgentName;
const TIMEOUT = { timeout: 60_000 };

interface Disk {
  /** Of the shim, for the files with this text in their path. */
  readonly fill: (file: string) => void;
  readonly free: () => void;
  readonly folder: (name: string) => string;
}

/** Where a full disk is met besides in puts: a disk that is full, or with the shim files that can't be written. */
interface Place {
  readonly name: string;
  readonly skip: string | null;
  readonly make: (daemon: TestDaemon) => Disk;
}

const PLACES: readonly Place[] = [
  {
    name: "tmpfs",
    skip: MOUNT_SKIP,
    make: (daemon) => {
      const disk = new SmallDisk("32m");
      onTestFinished(async () => {
        await daemon.stop();
        disk.dispose();
      });
      daemon.home = path.join(disk.folder, "home");
      return { fill: () => disk.fill(), free: () => disk.free(), folder: (name) => disk.path(name) };
    },
  },
  {
    name: "preloaded shim, ENOSPC",
    skip: SHIM_SKIP,
    make: (daemon) => {
      const shim = new IoShim();
      onTestFinished(async () => {
        await daemon.stop();
        shim.dispose();
      });
      Object.assign(daemon.environment, shim.env);
      const set = (file: string): void => shim.set({ call: "write", error: "ENOSPC", file } satisfies ShimFault);
      return { fill: set, free: () => shim.clear(), folder: (name) => path.join(path.dirname(daemon.home), name) };
    },
  },
];

/** One way of filling it is as good as the other; where the first can't be had, the other. */
const able = PLACES.filter(({ skip }) => skip === null);
const chosen = IS_LONG || able.length === 0 ? PLACES : able.slice(0, 1);

describe.each(chosen)("a full disk ($name)", ({ skip, make }) => {
  const when = test.skipIf(skip !== null);
  const why = skip === null ? "" : ` (skipped: ${skip})`;

  when(`at the start: it says so and ends; with space it starts${why}`, TIMEOUT, async () => {
    const daemon = await stage.newDaemon();
    const disk = make(daemon);
    await daemon.configure();
    await daemon.start();
    await stage.register(daemon, AGENT, 'object_storage = "sqlite://objects.db"\n');
    const client = await stage.client({ home: daemon.home });
    const { state } = await client.request(AGENT, "kv.put", { key: "/a", value: "1" });
    await daemon.stop();
    disk.fill(daemon.home);
    const started = await daemon.start().then(
      () => null,
      (error: Error) => error,
    );
    expect(started?.message).toMatch(/full/);
    expect(started?.message).toContain(`free space on the disk that holds ${daemon.home}`);
    await daemon.stop();
    disk.free();
    await daemon.start();
    const again = await stage.client({ home: daemon.home });
    expect(await again.request(AGENT, "kv.get", { key: "/a" })).toMatchObject({ state });
    expect(await again.request(AGENT, "timeline.verify", {})).toMatchObject({ ok: true });
  });

  when(
    `of one agent at the start: the others are served, and it is with space${why}`,
    TIMEOUT,
    async ({ skip: leave }) => {
      const daemon = await stage.newDaemon();
      const disk = make(daemon);
      if (disk.folder("x").includes("vlinder-disk-")) return leave("all agents are on one disk");
      await daemon.configure();
      await daemon.start();
      await stage.register(daemon, AGENT, 'object_storage = "sqlite://objects.db"\n');
      await stage.register(daemon, "other", 'object_storage = "sqlite://objects.db"\n');
      await daemon.stop();
      disk.fill(`/agents/${AGENT}/`);
      await daemon.start();
      const client = await stage.client({ home: daemon.home, retries: 0 });
      await client.request("other" as AgentName, "kv.put", { key: "/a", value: "1" });
      await expect(client.request(AGENT, "kv.put", { key: "/a", value: "1" })).rejects.toMatchObject({
        code: "unavailable",
        remedy: expect.stringMatching(/space/),
      });
      expect((await client.admin("agents.list")).items).toMatchObject([
        { agent: "other", error: null },
        { agent: AGENT },
      ]);
      disk.free();
      await until("it is served", async () => {
        const put = client.request(AGENT, "kv.put", { key: "/a", value: "1" });
        return await put.then(
          () => true,
          () => false,
        );
      });
      expect(await client.request(AGENT, "timeline.verify", {})).toMatchObject({ ok: true });
    },
  );

  when(`at a registration: refused, with nothing half-made; with space it is done${why}`, TIMEOUT, async () => {
    const daemon = await stage.newDaemon();
    const disk = make(daemon);
    await daemon.configure();
    await daemon.start();
    const dir = await stage.agentFolder(AGENT, 'object_storage = "sqlite://objects.db"\n');
    const admin = await stage.client({ home: daemon.home, retries: 0 });
    disk.fill(`/agents/${AGENT}/`);
    const refused = await admin.admin("agents.register", { dir }).then(
      () => null,
      (error: unknown) => error,
    );
    expect(refused).toMatchObject({ code: "unavailable", remedy: expect.stringMatching(/space|disk/) });
    expect((await admin.admin("agents.list")).items).toEqual([]);
    expect(await readdir(path.join(daemon.home, "creds", "agents")).catch(() => [])).toEqual([]);
    disk.free();
    expect(await admin.admin("agents.register", { dir })).toMatchObject({ result: "created" });
    await admin.request(AGENT, "kv.put", { key: "/a", value: "1" });
    expect(await admin.request(AGENT, "timeline.verify", {})).toMatchObject({ ok: true });
  });

  when(
    `for the vector index: the vector is stored and found, and it is said${why}`,
    TIMEOUT,
    async ({ skip: leave }) => {
      const daemon = await stage.newDaemon();
      const disk = make(daemon);
      await daemon.configure();
      await daemon.start();
      await stage.register(daemon, AGENT);
      const client = await stage.client({ home: daemon.home, retries: 0 });
      const search = async () =>
        (await client.request(AGENT, "vector.search", { vector: [1, 0, 0], limit: 3 })).items.map(({ key }) => key);
      await client.request(AGENT, "vector.put", { key: "/1", vector: [1, 0, 0] });
      // A disk that is full for the index alone is what the shim can do.
      if (disk.folder("x").includes("vlinder-disk-")) return leave("of a whole disk, the objects are full first");
      disk.fill("vectors.db");
      await client.request(AGENT, "vector.put", { key: "/2", vector: [0.9, 0.1, 0] });
      expect(await search()).toEqual(["/1", "/2"]);
      await until("it is said", () => daemon.logged(40).some((line) => line.includes("vector index")));
      disk.free();
      await client.request(AGENT, "vector.put", { key: "/3", vector: [0.8, 0.2, 0] });
      expect(await search()).toEqual(["/1", "/2", "/3"]);
      expect(await client.request(AGENT, "timeline.verify", {})).toMatchObject({ ok: true });
    },
  );

  when(`in the bucket: the push says so, what is owed stays owed, and goes with space${why}`, TIMEOUT, async () => {
    const daemon = await stage.newDaemon();
    const home = daemon.home;
    const disk = make(daemon);
    // The bucket is on the disk that gets full, the home is not.
    daemon.home = home;
    await daemon.configure(SYNC_BY_HAND);
    await daemon.start();
    await stage.register(daemon, AGENT, 'object_storage = "sqlite://objects.db"\n');
    const admin = await stage.client({ home: daemon.home, retries: 0 });
    await admin.admin("sync.init", { uri: `file://${disk.folder("the-bucket")}` });
    await admin.request(AGENT, "kv.put", { key: "/a", value: "x".repeat(200_000) });
    disk.fill("/the-bucket/");
    const { agents } = await admin.admin("sync.push");
    expect(agents).toMatchObject([{ agent: AGENT, error: { code: "unavailable" } }]);
    expect((await admin.admin("sync.status")).agents).toMatchObject([{ owed: { commits: 3 } }]);
    await admin.request(AGENT, "kv.put", { key: "/b", value: "1" });
    disk.free();
    expect((await admin.admin("sync.push")).agents).toMatchObject([{ agent: AGENT, error: null }]);
    expect((await admin.admin("sync.status")).agents).toMatchObject([{ owed: { commits: 0 } }]);
  });
});
