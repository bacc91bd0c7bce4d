import { createHash, randomBytes } from "node:crypto";
import {
  commit,
  createRepo,
  deleteFile,
  deleteRepo,
  downloadFile,
  fileExists,
  listFiles,
  pathsInfo,
  uploadFiles,
} from "@huggingface/hub";
import { fileHash, getChunks, hashToHex } from "@huggingface/xetchunk-wasm";
import { describe, expect, onTestFinished, test } from "vitest";
import { report } from "./harness/hub/request-log.ts";
import { HubServer, type HubServerOptions } from "./harness/hub/server.ts";

const WRITER = "hf_writer";
const READER = "hf_reader";
const STRANGER = "hf_stranger";
const repo = { type: "bucket", name: "me/vault" } as const;

interface Sent {
  readonly url: string;
  readonly init: Omit<RequestInit, "headers"> & { readonly headers: Record<string, string> };
}

interface Hub {
  readonly server: HubServer;
  /** For the library: all that it needs to talk to the server. */
  readonly params: { repo: typeof repo; accessToken: string; hubUrl: string; fetch: typeof fetch };
  /** What the library sent last to a URL that has this in it. */
  readonly sent: (part: string) => Sent;
}

async function hub(options: HubServerOptions = {}): Promise<Hub> {
  const server = await HubServer.start({
    people: {
      [WRITER]: { name: "me", role: "write" },
      [READER]: { name: "me", role: "read" },
      [STRANGER]: { name: "you", role: "write" },
    },
    ...options,
  });
  onTestFinished(async () => {
    await server.close();
    expect(server.failures).toEqual([]);
  });
  const all: Sent[] = [];
  const recording: typeof fetch = (input, init = {}) => {
    const copy = ArrayBuffer.isView(init.body) ? Buffer.from(init.body as Uint8Array) : init.body;
    const headers = (init.headers ?? {}) as Record<string, string>;
    all.push({ url: input as string, init: { ...init, headers, body: copy ?? null } });
    return fetch(input, init);
  };
  const params = { repo, accessToken: WRITER, hubUrl: server.url, fetch: recording };
  await createRepo({ ...params, visibility: "private" });
  const sent = (part: string): Sent => all.findLast(({ url }) => url.includes(part)) as Sent;
  return { server, params, sent };
}

const file = (path: string, content: Uint8Array): { path: string; content: Blob } => ({
  path,
  content: new Blob([Buffer.from(content)]),
});

async function bytesOf({ params }: Hub, path: string, start?: number, end?: number): Promise<Buffer> {
  const blob = await downloadFile({ ...params, path });
  if (blob === null) throw new Error(`no ${path}`);
  return Buffer.from(await (start === undefined ? blob : blob.slice(start, end)).arrayBuffer());
}

async function paths({ params }: Hub, path?: string): Promise<string[]> {
  const found: string[] = [];
  for await (const entry of listFiles({ ...params, ...(path === undefined ? {} : { path }), recursive: true })) {
    found.push(entry.path);
  }
  return found;
}

/** Bytes that neither repeat nor change from run to run. */
function noise(length: number, seed: string): Buffer {
  const parts: Buffer[] = [];
  for (let i = 0; i * 64 < length; i++) parts.push(createHash("sha512").update(`${seed} ${i}`).digest());
  return Buffer.concat(parts).subarray(0, length);
}

describe("the unmodified client", () => {
  test("uploads, lists, looks up, reads and deletes", async () => {
    const the = await hub();
    const large = noise(700_000, "large");
    const files = { "a/large": large, "a/text": Buffer.from("abcd".repeat(9000)), empty: Buffer.alloc(0) };
    await uploadFiles({ ...the.params, files: Object.entries(files).map(([path, bytes]) => file(path, bytes)) });
    expect(await paths(the)).toEqual(["a/large", "a/text", "empty"]);
    for (const [path, bytes] of Object.entries(files)) expect((await bytesOf(the, path)).equals(bytes)).toBe(true);
    expect(await bytesOf(the, "a/large", 200_000, 300_000)).toEqual(large.subarray(200_000, 300_000));
    expect(await pathsInfo({ ...the.params, paths: ["a/large", "none"] })).toMatchObject([
      { path: "a/large", size: 700_000, xetHash: hashToHex(fileHash(getChunks(large))), type: "file" },
    ]);
    await deleteFile({ ...the.params, path: "a/text" });
    expect(await paths(the)).toEqual(["a/large", "empty"]);
    expect(await fileExists({ ...the.params, path: "a/text" })).toBe(false);
    expect(await downloadFile({ ...the.params, path: "a/text" })).toBe(null);
    expect(the.server.log.entries.filter(({ status }) => status >= 400).map(({ note }) => note)).toEqual([
      "the chunk is not known",
      "the chunk is not known",
      "Entry not found: a/text",
      "Entry not found: a/text",
    ]);
    await deleteRepo(the.params);
    expect(the.server.buckets.size).toBe(0);
  });

  test("sends a file that the CAS knows without its bytes, and one with a change with little more", async () => {
    const the = await hub();
    const bytes = noise(3 << 20, "dedup");
    await uploadFiles({ ...the.params, files: [file("one", bytes)] });
    the.server.log.take();
    await uploadFiles({ ...the.params, files: [file("two", bytes)] });
    expect(report(the.server.log.take()).at(-1)?.up).toBeLessThan(8000);
    const changed = Buffer.from(bytes);
    changed.fill(7, 2 << 20, (2 << 20) + 100);
    await uploadFiles({ ...the.params, files: [file("two", changed)] });
    const up = report(the.server.log.take()).find(({ route }) => route === "POST xorbs")?.up as number;
    expect(up).toBeLessThan(300_000);
    expect((await bytesOf(the, "two")).equals(changed)).toBe(true);
  });

  test("reads several ranges of a xorb in one request of several parts", async () => {
    const the = await hub();
    const bytes = noise(1 << 20, "parts");
    await uploadFiles({ ...the.params, files: [file("whole", bytes)] });
    // Begins like the first, so that the client finds its chunks; what lies between is another xorb's.
    const mixed = Buffer.concat([bytes.subarray(0, 400_000), noise(300_000, "new"), bytes.subarray(600_000)]);
    await uploadFiles({ ...the.params, files: [file("mixed", mixed)] });
    the.server.log.take();
    expect((await bytesOf(the, "mixed")).equals(mixed)).toBe(true);
    expect(the.sent("/signed/xorbs").init.headers).toMatchObject({ Range: expect.any(String) });
    const parts = the.server.log.entries.filter(({ route }) => route === "GET xorb ranges");
    expect(parts.map(({ status }) => status)).toEqual([206, 206]);
  });

  test("follows pages, and prefixes are of names, not folders", async () => {
    const the = await hub({ manners: { page: 2 } });
    const names = ["a/1", "a/10", "a/2", "ab", "b"];
    await uploadFiles({ ...the.params, files: names.map((name) => file(name, Buffer.from(name))) });
    the.server.log.take();
    expect(await paths(the)).toEqual(names);
    expect(the.server.log.take().filter(({ route }) => route === "GET tree").length).toBe(3);
    expect(await paths(the, "a/1")).toEqual(["a/1", "a/10"]);
    expect(await paths(the, "none")).toEqual([]);
  });

  test("is told which of its files are not taken", async () => {
    const the = await hub();
    const operations = [{ operation: "delete" as const, path: "none" }];
    await expect(commit({ ...the.params, title: "", operations })).rejects.toThrow();
    the.server.manners.missingDelete = "pass";
    await commit({ ...the.params, title: "", operations });
  });
});

describe("who may what", () => {
  test("a stranger does not see a private bucket, a reader does not write, and nobody else is known", async () => {
    const the = await hub();
    const as = (accessToken: string): Hub["params"] => ({ ...the.params, accessToken });
    const files = [file("a", Buffer.from("a"))];
    await expect(pathsInfo({ ...as(STRANGER), paths: ["a"] })).rejects.toMatchObject({ statusCode: 404 });
    await expect(pathsInfo({ ...as("hf_nobody"), paths: ["a"] })).rejects.toMatchObject({ statusCode: 401 });
    await expect(uploadFiles({ ...as(READER), files })).rejects.toMatchObject({ statusCode: 403 });
    await expect(createRepo(as(READER))).rejects.toMatchObject({ statusCode: 403 });
    await expect(createRepo(as(STRANGER))).rejects.toMatchObject({ statusCode: 403 });
    await expect(createRepo(as(WRITER))).rejects.toMatchObject({ statusCode: 409 });
    expect(await pathsInfo({ ...as(READER), paths: ["a"] })).toEqual([]);
  });

  test("the CAS wants a Xet token that lives and may write, the CDN a signature and no token", async () => {
    const the = await hub();
    await uploadFiles({ ...the.params, files: [file("a", noise(100_000, "a"))] });
    await bytesOf(the, "a");
    const again = ({ url, init }: Sent, more: RequestInit = {}): Promise<number> =>
      fetch(url, { ...init, ...more }).then(({ status }) => status);
    const xorb = the.sent("/v1/xorbs");
    const token = (await (
      await fetch(`${the.server.url}/api/buckets/me/vault/xet-read-token`, {
        headers: { Authorization: `Bearer ${READER}` },
      })
    ).json()) as { accessToken: string };
    expect(await again(xorb)).toBe(200);
    expect(await again(xorb, { headers: { Authorization: `Bearer ${WRITER}` } })).toBe(401);
    expect(await again(xorb, { headers: { Authorization: `Bearer ${token.accessToken}` } })).toBe(403);
    the.server.tokens.expireAll();
    expect(await again(xorb)).toBe(401);

    const range = the.sent("/signed/xorbs");
    expect(await again(range)).toBe(206);
    expect(await again(range, { headers: { Range: "bytes=0-9" } })).toBe(403);
    expect(await again({ ...range, url: range.url.replace("issued=1", "issued=2") })).toBe(403);
    expect(await again(range, { headers: { ...range.init.headers, Authorization: "Bearer x" } })).toBe(400);
    await new Promise((resolve) => setTimeout(resolve, 2));
    the.server.cas.expireUrls();
    expect(await again(range)).toBe(403);
  });
});

describe("what the real service would refuse is refused", () => {
  interface Uploaded {
    readonly the: Hub;
    /** Sends the library's own request once more with another body. */
    readonly send: (part: string, change: (body: Buffer) => Buffer | string) => Promise<string>;
  }

  async function uploaded(): Promise<Uploaded> {
    const the = await hub();
    await uploadFiles({
      ...the.params,
      files: [file("a", Buffer.from("text ".repeat(60_000))), file("b", noise(1e5, "b"))],
    });
    const send = async (part: string, change: (body: Buffer) => Buffer | string): Promise<string> => {
      const { url, init } = the.sent(part);
      const response = await fetch(url, { ...init, body: change(Buffer.from(init.body as string)) as string });
      return `${response.status} ${((await response.json()) as { error?: string }).error ?? ""}`.trim();
    };
    return { the, send };
  }

  const flip =
    (at: number) =>
    (body: Buffer): Buffer => {
      body[at < 0 ? body.length + at : at]! ^= 1;
      return body;
    };

  test("a xorb with any other bit, too short, too long, or cut at other places", async () => {
    const { send } = await uploaded();
    expect(await send("/v1/xorbs", (body) => body)).toBe("200");
    for (let i = 0; i < 40; i++) expect(await send("/v1/xorbs", flip(Math.floor((i / 40) * 2000)))).toMatch(/^400 ./);
    expect(await send("/v1/xorbs", flip(-1))).toMatch(/^400 ./);
    expect(await send("/v1/xorbs", (body) => body.subarray(0, -1))).toMatch(/^400 .*cut/);
    expect(await send("/v1/xorbs", (body) => Buffer.concat([body, Buffer.from("x")]))).toMatch(/^400 .*cut/);
    expect(await send("/v1/xorbs", () => "")).toMatch(/^400 an empty xorb/);
    const twoInOne = noise(120_000, "cut");
    expect(getChunks(twoInOne).length).toBeGreaterThan(1);
    const header = Buffer.alloc(8);
    header.writeUIntLE(twoInOne.length, 1, 3);
    header.writeUIntLE(twoInOne.length, 5, 3);
    expect(await send("/v1/xorbs", () => Buffer.concat([header, twoInOne]))).toMatch(/^400 chunk 0 holds \d chunks/);
  });

  test("a shard with any other bit that counts", async () => {
    const { send, the } = await uploaded();
    expect(await send("/v1/shards", (body) => body)).toBe("200");
    const length = (the.sent("/v1/shards").init.body as Buffer).length;
    // All but the footer, of which the offsets and the version are checked, and the rest is said nowhere.
    for (let at = 0; at < length - 200; at += 7) expect(await send("/v1/shards", flip(at)), `${at}`).toMatch(/^400 ./);
    for (const at of [-200, -192, -184, -8]) expect(await send("/v1/shards", flip(at))).toMatch(/^400 ./);
    expect(await send("/v1/shards", (body) => body.subarray(0, 200))).toMatch(/^400 a shard that is cut/);
  });

  test("a batch that is none, is too long, or names what the CAS does not know", async () => {
    const { send, the } = await uploaded();
    const line = (path: string, xetHash = "0".repeat(64)): string => JSON.stringify({ type: "addFile", path, xetHash });
    const before = await paths(the);
    const bad = [
      "",
      "{}",
      "[]",
      line("/a"),
      line("a//b"),
      line("a/../b"),
      line("./a"),
      line("a/"),
      line("a", "xyz"),
      `${line("a")}\n${line("a")}`,
      `${line("x")}\n{"type":"moveFile","path":"a"}`,
      '{"type":"deleteFile","path":"a","xetHash":"0"}',
      Array.from({ length: 101 }, (_, i) => line(`many/${i}`)).join("\n"),
    ];
    for (const body of bad) expect(await send("/batch", () => body), body).toMatch(/^400 ./);
    expect(await paths(the)).toEqual(before);
    const unknown = randomBytes(32).toString("hex");
    expect(await send("/batch", () => `${line("good")}\n${line("bad", unknown)}`)).toBe("422");
    expect(await paths(the)).toEqual([...before, "good"]);
    const { url, init } = the.sent("/batch");
    const headers = { ...init.headers, "Content-Type": "application/json" };
    expect((await fetch(url, { ...init, headers })).status).toBe(400);
  });

  test("queries, bodies and routes that there are not", async () => {
    const { the } = await uploaded();
    const ask = async (method: string, path: string, body?: string): Promise<number> => {
      const headers = { Authorization: `Bearer ${WRITER}`, "Content-Type": "application/json" };
      return (await fetch(the.server.url + path, { method, headers, ...(body === undefined ? {} : { body }) })).status;
    };
    const bucket = "/api/buckets/me/vault";
    expect(await ask("GET", `${bucket}/tree?recursive=1`)).toBe(400);
    expect(await ask("GET", `${bucket}/tree?x=1`)).toBe(400);
    expect(await ask("GET", `${bucket}/tree?cursor=x`)).toBe(400);
    expect(await ask("POST", `${bucket}/paths-info`, '{"paths":[]}')).toBe(400);
    expect(await ask("POST", `${bucket}/paths-info`, '{"paths":["/a"]}')).toBe(400);
    expect(await ask("POST", `${bucket}/paths-info`, '{"paths":["a"],"x":1}')).toBe(400);
    const many = JSON.stringify({ paths: Array.from({ length: 1001 }, (_, i) => `p${i}`) });
    expect(await ask("POST", `${bucket}/paths-info`, many)).toBe(400);
    expect(await ask("POST", "/api/buckets/me/other", '{"visibility":"hidden"}')).toBe(400);
    expect(await ask("GET", "/api/models/me/vault")).toBe(404);
    expect(await ask("GET", `/cas/v2/reconstructions/${"1".repeat(64)}`)).toBe(401);
  });
});
