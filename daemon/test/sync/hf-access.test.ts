import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { VlinderError } from "@vlinder/protocol";
import { readHfToken } from "../../src/sync/buckets/hf-token.ts";
import { listed, startHub, TOKEN, URI } from "./hub.ts";
import { tempFolder } from "./machine.ts";

const file = { path: "a", bytes: Buffer.from("x") };
const denied = (remedy: RegExp): object => ({ code: "denied", retryable: false, remedy });

async function thrownBy(work: Promise<unknown>): Promise<VlinderError> {
  const error = await work.then(
    () => new Error("nothing was thrown"),
    (thrown: unknown) => thrown,
  );
  if (error instanceof VlinderError) return error;
  throw error;
}

describe("the token", () => {
  test("is HF_TOKEN, else in the file that Hugging Face's own tools use", async () => {
    const home = await tempFolder();
    const at = async (...parts: string[]): Promise<string> => {
      const path = join(home, ...parts);
      await mkdir(join(path, ".."), { recursive: true });
      await writeFile(path, `hf_${parts.join("_")}\n`);
      return path;
    };
    const cache = await at("cache", "huggingface", "token");
    const hfHome = await at("hf", "token");
    const path = await at("mine");
    const env: NodeJS.ProcessEnv = { XDG_CACHE_HOME: join(home, "cache") };
    expect(await readHfToken(env)).toEqual({ token: "hf_cache_huggingface_token", from: cache });
    env["HF_HOME"] = join(home, "hf");
    expect(await readHfToken(env)).toEqual({ token: "hf_hf_token", from: hfHome });
    env["HF_TOKEN_PATH"] = path;
    expect(await readHfToken(env)).toEqual({ token: "hf_mine", from: path });
    env["HF_TOKEN"] = " hf_env ";
    expect(await readHfToken(env)).toEqual({ token: "hf_env", from: "HF_TOKEN" });
  });

  test("that is missing, or can be none, is denied before anything is asked, and not shown", async () => {
    const hub = await startHub();
    for (const HF_TOKEN of ["", "secret", "hf_se cret", "hf_secret\nX-Other: 1", "Bearer hf_secret"]) {
      const env = { ...hub.env, HF_TOKEN, HF_TOKEN_PATH: join(await tempFolder(), "none") };
      const bucket = await hub.open(URI, { env, create: false });
      const error = await thrownBy(bucket.put([file]));
      expect(error).toMatchObject(denied(/settings\/tokens.*hf auth login/));
      expect(JSON.stringify([error.toBody(), error.stack])).not.toMatch(/secret|se cret/);
    }
    expect(hub.server.log.entries).toEqual([]);
  });

  test("may change while the bucket is open", async () => {
    const hub = await startHub();
    const path = join(await tempFolder(), "token");
    await writeFile(path, TOKEN);
    const bucket = await hub.open(URI, { env: { HF_ENDPOINT: hub.server.url, HF_TOKEN_PATH: path } });
    await bucket.put([file]);
    hub.server.tokens.people.delete(TOKEN);
    hub.server.tokens.expireAll();
    const { message, remedy } = await thrownBy(bucket.put([{ ...file, path: "b" }]));
    expect(message).toMatch(/401/);
    expect(remedy).toBe(`the token from ${path} is not accepted (expired, revoked, or mistyped): put a new one there`);
    hub.server.tokens.people.set("hf_second", { name: "me", role: "write" });
    await writeFile(path, "hf_second");
    await bucket.put([{ ...file, path: "b" }]);
    expect(await bucket.get("b")).toEqual(file.bytes);
    await rm(path);
    await expect(bucket.get("b")).rejects.toMatchObject({ code: "denied" });
  });

  test("goes to the endpoint and nowhere else", async () => {
    const hub = await startHub();
    const elsewhere = await startHub();
    const bucket = await hub.open();
    const next = { Link: `<${elsewhere.server.url}/api/buckets/me/vault/tree?cursor=x>; rel="next"` };
    hub.server.faults.inject("GET tree", { kind: "status", status: 200, body: [], headers: next });
    await expect(listed(bucket)).rejects.toMatchObject({ code: "denied", remedy: /not sent/ });
    expect(elsewhere.server.log.entries).toEqual([]);
  });

  test("is in no error, whatever the service says", async () => {
    const hub = await startHub();
    const bucket = await hub.open();
    for (const status of [400, 401, 403, 404, 418, 500]) {
      const body = { error: `bad token ${TOKEN} in https://x/y?token=${TOKEN}` };
      hub.server.faults.inject("GET bucket", { kind: "status", status, body }, { times: 9 });
      const error = await thrownBy(bucket.revision());
      expect(JSON.stringify([error.toBody(), error.stack, String(error.cause)])).not.toContain(TOKEN);
      expect(error.message).toContain("bad token …");
      hub.server.faults.clear();
    }
    hub.forgive();
  });
});

describe("rights", () => {
  test("a token that may only read reads, and is told what it lacks when it writes", async () => {
    const hub = await startHub();
    await (await hub.open()).put([file]);
    hub.server.tokens.people.set("hf_reader", { name: "me", role: "read" });
    const reader = await hub.open(URI, { env: { ...hub.env, HF_TOKEN: "hf_reader" }, create: false });
    expect(await reader.get("a")).toEqual(file.bytes);
    expect(await listed(reader)).toEqual(["a"]);
    const lacks = denied(/token from HF_TOKEN lacks a right: .*read and write me's repositories/);
    await expect(reader.put([{ ...file, path: "b" }])).rejects.toMatchObject(lacks);
    await expect(reader.delete(["a"])).rejects.toMatchObject(lacks);
    const more = { env: { ...hub.env, HF_TOKEN: "hf_reader" }, create: true };
    await expect(hub.open("hf://buckets/me/new", more)).rejects.toMatchObject(lacks);
  });

  test("a stranger's bucket, and one that was deleted, are not there: a person is needed", async () => {
    const hub = await startHub();
    const bucket = await hub.open();
    hub.server.tokens.people.set("hf_stranger", { name: "you", role: "write" });
    const stranger = await hub.open(URI, { env: { ...hub.env, HF_TOKEN: "hf_stranger" }, create: false });
    const calls = (one: typeof bucket): (() => Promise<unknown>)[] => [
      () => one.get("a"),
      () => one.put([file]),
      () => one.sizes(["a"]),
      () => listed(one),
      () => one.delete(["a"]),
      () => one.revision(),
    ];
    const missing = { code: "unavailable", retryable: false, remedy: /vlinder init hf:\/\/buckets\/me\/vault/ };
    for (const call of calls(stranger)) await expect(call()).rejects.toMatchObject(missing);
    hub.server.buckets.clear();
    for (const call of calls(bucket)) await expect(call()).rejects.toMatchObject(missing);
    // It is not made again by itself: an empty bucket would look like a loss.
    expect(hub.server.buckets.size).toBe(0);
  });

  test("init makes the bucket, private, and takes one that is there", async () => {
    const hub = await startHub();
    await expect((await hub.open(URI, { create: false })).get("a")).rejects.toMatchObject({ code: "unavailable" });
    await hub.open();
    await hub.open();
    expect([...hub.server.buckets.values()].map(({ id, isPrivate }) => [id, isPrivate])).toEqual([["me/vault", true]]);
    const injection = hub.server.faults.inject("POST bucket", { kind: "lost" });
    await hub.open("hf://buckets/me/second");
    expect(injection.fired).toBe(1);
  });

  test("an endpoint that is none is said", async () => {
    const hub = await startHub();
    const env = { ...hub.env, HF_ENDPOINT: "huggingface.co" };
    await expect(hub.open(URI, { env })).rejects.toMatchObject({ code: "invalid", remedy: /unset/ });
  });
});
