import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type AgentName, decodeBody, type SyncEventMessage } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { commandLine } from "./harness/command-line.ts";
import { until } from "./harness/processes.ts";
import { newStage } from "./harness/stage.ts";

// Real daemons whose config.toml names a bucket that can't be used, or not yet.

const stage = newStage();
const AGENT = "memory" as AgentName;
const STORAGE = 'object_storage = "sqlite://objects.db"\n';
const put = { key: "/a", value: Buffer.from("1") };

test.concurrent("somebody else's encrypted vault is as loud as a bucket that fails, with its remedy, until the home may use it", async () => {
  const uri = `file://${await stage.path("bucket")}`;
  const founder = await stage.admin(await stage.daemon());
  const { recovery } = await founder.admin("sync.init", { uri, encrypt: true });

  const daemon = await stage.daemon(`[sync]\nbucket = "${uri}"\nquiet = "100ms"\n`);
  const admin = await stage.admin(daemon);
  await until("it was tried", async () => (await admin.admin("sync.status")).joining?.lock != null);
  const events: SyncEventMessage[] = [];
  const wire = await stage.wire(daemon);
  wire.subscribe(`vlinder.v1.${AGENT}.events.sync`, {
    callback: (_error, { data }) => void events.push(decodeBody(data) as unknown as SyncEventMessage),
  });
  await wire.flush();
  await stage.register(daemon, AGENT, STORAGE);
  const error = { code: "denied", details: { remedy: expect.stringContaining("--key") as string } };
  const lock = { class: "person", next: null };
  expect((await admin.request(AGENT, "kv.put", put)).sync).toMatchObject({ owed: { commits: 3 }, lock, error });
  const { sync } = await admin.admin("daemon.status");
  expect(sync).toMatchObject({ bucket: uri, joining: { lock, error }, agents: [{ lock, error }] });
  await until("its event", () => Promise.resolve(events.length > 0));
  expect(events[0]).toMatchObject({ lock, error });
  for (const operation of ["sync.push", "sync.pull", "sync.drill", "sync.databases"] as const) {
    await expect(admin.admin(operation, {})).rejects.toMatchObject({ code: error.code, remedy: error.details.remedy });
  }
  for (const command of [["status"], ["sync", "status"], ["doctor"]]) {
    const { out, err } = await commandLine(daemon.home, command);
    const output = out + err;
    expect(output).toContain("--key");
    expect(output).not.toContain("none: memory is kept only");
  }

  await admin.admin("sync.init", { uri, key: recovery as string });
  await until("it is pushed", async () => {
    const { agents, joining } = await admin.admin("sync.status");
    return joining === undefined && agents[0]?.owed.commits === 0 && agents[0].lock === null;
  });
  await until("that is said", () => Promise.resolve(events.at(-1)?.lock === null));
});

test.concurrent("a folder that is not mounted is used when it is there, with nobody asking", async () => {
  const drive = await stage.path("drive");
  const daemon = await stage.daemon(`[sync]\nbucket = "file://${drive}/vault"\n`);
  const admin = await stage.admin(daemon);
  await stage.register(daemon, AGENT, STORAGE);
  await until("it is said", async () => (await admin.admin("sync.status")).agents[0]?.lock?.class === "retry");
  await admin.request(AGENT, "kv.put", put);
  await mkdir(drive);
  await until("it is pushed", async () => {
    const { agents, vault } = await admin.admin("sync.status");
    return vault !== null && agents[0]?.owed.commits === 0 && agents[0].lock === null;
  });
  await daemon.stop();
  // It has joined for good: the next start finds it without config.toml.
  await daemon.configure();
  await daemon.start();
  expect(await admin.admin("sync.status")).toMatchObject({ bucket: `file://${drive}/vault` });
});

test.concurrent("a Hub that never answers keeps neither a start nor a stop", async () => {
  let asked = 0;
  const hub = createServer(() => void asked++).listen(0, "127.0.0.1");
  await once(hub, "listening");
  try {
    const daemon = await stage.newDaemon('[sync]\nbucket = "hf://buckets/me/vault"\nstop_push = "0s"\n');
    daemon.environment["HF_ENDPOINT"] = `http://127.0.0.1:${(hub.address() as AddressInfo).port}`;
    daemon.environment["HF_TOKEN"] = "hf_none";
    await daemon.start();
    const admin = await stage.admin(daemon);
    await stage.register(daemon, AGENT, STORAGE);
    await until("it is asked", () => Promise.resolve(asked > 0));
    expect((await admin.request(AGENT, "kv.put", put)).state).toBeTruthy();
    expect((await admin.admin("sync.status")).joining).toEqual({ lock: null, error: null });
    // Nothing has been answered, and it ends all the same.
    expect(await daemon.stop()).toBe(0);
    expect(daemon.log.join()).not.toContain("can't be used");
  } finally {
    hub.closeAllConnections();
    hub.close();
  }
});
