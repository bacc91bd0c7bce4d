import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { encodeBody } from "@vlinder/protocol";
import { Client, connect, type ConnectOptions, Vlinder } from "../src/index.ts";
import { startNats } from "./nats-server.ts";
import { type Fault, StrictResponder } from "./strict-responder.ts";
import { Stage, TODO } from "./support.ts";

async function stageFor(options: ConnectOptions = {}): Promise<Stage> {
  const stage = await Stage.open(options);
  onTestFinished(() => stage[Symbol.asyncDispose]());
  return stage;
}

async function folderFor(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "vlinder-sdk-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** An agent's connection to a daemon that can be moved to another address; its home says where it is. */
async function movable(): Promise<{ vlinder: Vlinder; move: () => Promise<StrictResponder> }> {
  const home = await folderFor();
  const agents = join(home, "creds", "agents");
  await mkdir(join(home, "run"), { recursive: true });
  await mkdir(agents, { recursive: true });
  const write = (url: string): Promise<void> =>
    writeFile(join(home, "run", "daemon.json"), JSON.stringify({ url, pid: 1, creds: "admin.creds", version: "0" }));
  const first = await startNats();
  const responder = await StrictResponder.start(first.url);
  await write(first.url);
  await expect(connect({ agent: "todo", home })).rejects.toMatchObject({ code: "not_registered" });
  await writeFile(join(agents, "todo.creds"), CREDS);
  const vlinder = await connect({ agent: "todo", home, timeout: 1_000 });
  onTestFinished(() => vlinder.close());
  const move = async (): Promise<StrictResponder> => {
    await responder.stop();
    await first.stop();
    const second = await startNats();
    onTestFinished(() => second.stop());
    const successor = await StrictResponder.start(second.url);
    onTestFinished(() => successor.stop());
    await write(second.url);
    return successor;
  };
  return { vlinder, move };
}

/** The first `n` messages have the fault; says how many had it. */
function firstMessages(stage: Stage, n: number, fault: Fault): () => number {
  let hit = 0;
  stage.responder.fault = () => (hit < n ? (hit++, fault) : null);
  return () => hit;
}

describe("a put is done once, and answered, when", () => {
  test.each(["lost", "unanswered", "unavailable"] as const)("its first two messages are %s", async (fault) => {
    const stage = await stageFor({ timeout: 150 });
    const hit = firstMessages(stage, 2, fault);
    const { state } = await stage.vlinder.kv.put("/a", "1", { expect: null });
    expect(hit()).toBe(2);
    // On a busy machine the third may be late too, and is sent once more.
    expect(stage.responder.count("kv.put")).toBeGreaterThanOrEqual(3);
    expect(new Set(stage.responder.received.map(({ body }) => body["id"])).size).toBe(1);
    expect(
      stage.responder
        .state()
        .line()
        .map((commit) => commit.state),
    ).toHaveLength(2);
    expect(stage.responder.state().head().state).toBe(state);
  });

  test("the same happens to a pipeline", async () => {
    const stage = await stageFor({ timeout: 150 });
    const hit = firstMessages(stage, 2, "unanswered");
    const keys = Array.from({ length: 20 }, (_, i) => `/${i}`);
    await Promise.all(keys.map((key) => stage.vlinder.kv.put(key, "1", { expect: null })));
    expect(hit()).toBe(2);
    expect(stage.responder.count("kv.pipeline")).toBe(3);
    expect(stage.responder.state().line()).toHaveLength(21);
  });

  test("the server goes away and comes back", async () => {
    const stage = await stageFor({ timeout: 2_000 });
    stage.responder.delay = () => 300;
    const putting = Promise.all([stage.vlinder.kv.put("/a", "1"), stage.vlinder.kv.put("/b", "2")]);
    await sleep(100);
    await stage.server.stop();
    await sleep(300);
    const again = await startNats({ port: stage.server.port });
    onTestFinished(() => again.stop());
    await putting;
    expect(stage.responder.state().line()).toHaveLength(3);
    expect((await stage.vlinder.kv.get("/b"))?.text()).toBe("2");
  });

  test("nobody answers for a while", async () => {
    const stage = await stageFor();
    await stage.responder.stop();
    const putting = stage.vlinder.kv.put("/a", "1");
    await sleep(250);
    const late = await StrictResponder.start(stage.server.url);
    onTestFinished(() => late.stop());
    await putting;
    expect(late.state().line()).toHaveLength(2);
  });
});

test("a reply's place is used again when it has come, and not when it may still come", async () => {
  const stage = await stageFor({ timeout: 1_500, retries: 0 });
  const { kv } = stage.vlinder;
  await kv.put("/a", "1");
  await kv.put("/a", "2");
  stage.responder.delay = () => 2_000;
  await expect(kv.get("/a")).rejects.toMatchObject({ code: "timeout" });
  stage.responder.delay = () => 1_000;
  // The late reply says that there is a key "/a".
  expect(await kv.get("/b")).toBeNull();
  const [first, second, late, next] = stage.responder.received.map(({ reply }) => reply);
  expect(second).toBe(first);
  expect(late).toBe(first);
  expect(next).not.toBe(late);
});

test("tries are bounded, and the last error surfaces with its remedy", async () => {
  const stage = await stageFor({ retries: 2 });
  await stage.responder.stop();
  const error = await stage.vlinder.kv.get("/a").catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "unavailable", remedy: "start it: vlinderd" });
  const slow = await stageFor({ retries: 1, timeout: 50 });
  slow.responder.fault = () => "lost";
  await expect(slow.vlinder.kv.put("/a", "1")).rejects.toMatchObject({ code: "timeout" });
  expect(slow.responder.count("kv.put")).toBe(2);
});

test("an error that would be the same again surfaces at once", async () => {
  const stage = await stageFor();
  await stage.vlinder.kv.put("/a", "1");
  await expect(stage.vlinder.kv.put("/a", "2", { expect: null })).rejects.toMatchObject({ code: "conflict" });
  expect(stage.responder.count("kv.put")).toBe(2);
});

test("what has no id and is not the same twice is not repeated once it may have arrived", async () => {
  const stage = await stageFor({ timeout: 50 });
  stage.responder.fault = () => "unanswered";
  const { client, agent } = stage.vlinder;
  const deleting = client.request(agent, "timeline.delete_branch", { branch: "fix" });
  await expect(deleting).rejects.toMatchObject({ code: "timeout" });
  expect(stage.responder.count("timeline.delete_branch")).toBe(1);
});

test("operations of a pipeline that are refused for now are repeated by themselves", async () => {
  const stage = await stageFor();
  let refused = 0;
  stage.responder.operationFault = () => refused < 7 && Boolean(++refused);
  const keys = Array.from({ length: 10 }, (_, i) => `/${i}`);
  await Promise.all(keys.map((key) => stage.vlinder.kv.put(key, key)));
  expect(refused).toBe(7);
  expect(stage.responder.state().line()).toHaveLength(11);
});

test("an operation whose key was written after it is not repeated: it would undo the later one", async () => {
  const stage = await stageFor();
  let calls = 0;
  stage.responder.operationFault = () => calls++ === 0;
  const first = stage.vlinder.kv.put("/a", "first");
  const second = stage.vlinder.kv.put("/a", "second");
  await expect(first).rejects.toMatchObject({ code: "unavailable" });
  await second;
  expect((await stage.vlinder.kv.get("/a"))?.text()).toBe("second");
});

test("a signal stops the waiting, with its reason", async () => {
  const stage = await stageFor();
  stage.responder.fault = () => "lost";
  const { client, agent } = stage.vlinder;
  const controller = new AbortController();
  const reading = client.request(agent, "kv.get", { key: "/a" }, { signal: controller.signal });
  const reason = new Error("enough");
  setTimeout(() => controller.abort(reason), 20);
  await expect(reading).rejects.toBe(reason);
});

test("closing rejects what is under way", async () => {
  const stage = await stageFor();
  stage.responder.fault = () => "lost";
  const reading = stage.vlinder.kv.get("/a");
  const rejected = expect(reading).rejects.toMatchObject({ code: "unavailable", retryable: false });
  await sleep(20);
  await stage.vlinder.close();
  await rejected;
});

test("a forbidden subject is denied at once, and other requests go on", async () => {
  const server = await startNats({
    config: `
      authorization { users: [
        { user: daemon, password: daemon }
        { user: agent, password: agent, permissions: {
          publish: "vlinder.v1.todo.>", subscribe: "_INBOX.todo.>" } } ] }
      no_auth_user: agent`,
  });
  onTestFinished(() => server.stop());
  const client = await Client.connect({ agent: "todo", url: server.url });
  onTestFinished(() => client.close());
  const other = new Vlinder(client, "other" as typeof TODO);
  await expect(other.kv.get("/a")).rejects.toMatchObject({ code: "denied" });
  await expect(client.admin("daemon.status")).rejects.toMatchObject({ code: "denied" });
  await expect(other.events("commit").next()).rejects.toMatchObject({ code: "denied" });
  const admin = await Client.connect({ url: server.url, retries: 0 });
  onTestFinished(() => admin.close());
  await expect(admin.request(TODO, "kv.get", { key: "/a" })).rejects.toMatchObject({ code: "denied" });
  const alive = client.request(TODO, "kv.get", { key: "/a" }, { timeout: 100 });
  await expect(alive).rejects.toMatchObject({ code: "unavailable" });
});

describe("finding the daemon", () => {
  test("no daemon is `unavailable`, with the line that starts it", async () => {
    const home = await folderFor();
    const remedy = "start it: vlinderd";
    await expect(connect({ agent: "todo", home })).rejects.toMatchObject({ code: "unavailable", remedy });
    const url = "nats://127.0.0.1:9";
    await expect(connect({ agent: "todo", url })).rejects.toMatchObject({ code: "unavailable", remedy });
  });

  test("a daemon that comes back at another address is found again through its home", async () => {
    const { vlinder, move } = await movable();
    await vlinder.kv.put("/a", "1");
    const events = vlinder.events("commit");
    const event = events.next();
    const successor = await move();
    await vlinder.kv.put("/a", "2");
    expect(successor.state().line()).toHaveLength(2);
    await sleep(100);
    successor.publish("vlinder.v1.todo.events.commit", { branch: "main" });
    expect((await event).value).toMatchObject({ branch: "main" });
    await events.return();
  });

  test("also by who only listens, and asks for nothing", async () => {
    const { vlinder, move } = await movable();
    const events = vlinder.events("commit");
    const event = events.next();
    const successor = await move();
    const publishing = setInterval(() => successor.publish("vlinder.v1.todo.events.commit", { branch: "main" }), 100);
    onTestFinished(() => clearInterval(publishing));
    expect((await event).value).toMatchObject({ branch: "main" });
    await events.return();
  });

  test("the environment says where, and options come first", async () => {
    const stage = await stageFor();
    process.env["VLINDER_URL"] = stage.server.url;
    onTestFinished(() => void delete process.env["VLINDER_URL"]);
    const vlinder = await connect({ agent: "todo" });
    await vlinder.kv.put("/a", "1");
    await vlinder.close();
    await expect(connect({ agent: "todo", url: "nats://127.0.0.1:9" })).rejects.toMatchObject({ code: "unavailable" });
  });
});

test("replies come to the inbox of whose credentials are used", async () => {
  const stage = await stageFor();
  const home = await folderFor();
  const inboxOf = async (claims: string): Promise<string> => {
    const creds = join(home, "some.creds");
    await writeFile(creds, CREDS.replace("e30", Buffer.from(claims).toString("base64url")));
    const client = await Client.connect({ agent: "todo", url: stage.server.url, creds });
    await client.request(TODO, "kv.list", {});
    await client.close();
    return stage.responder.received.at(-1)?.reply.split(".")[1] ?? "";
  };
  expect(await inboxOf('{"name":"todo"}')).toBe("todo");
  expect(await inboxOf('{"name":"admin"}')).toBe("admin");
  expect(await inboxOf('{"name":"*"}')).toBe("todo");
  expect(await inboxOf("not JSON")).toBe("todo");
});

test("a reply that is an error only in its headers, or of an unknown code, is `internal`", async () => {
  const stage = await stageFor();
  const { readReply } = await import("../src/reply.ts");
  expect(() => readReply({ body: Buffer.from("oops"), error: "broken" })).toThrow("broken");
  const body = encodeBody({ error: { code: "new_code", message: "m" } }, "msgpack");
  expect(() => readReply({ body, error: "m" })).toThrow(expect.objectContaining({ code: "internal" }));
  expect(stage.responder.violations).toEqual([]);
});

/** A user's file in the form that NATS has; the test's server asks for none and ignores it. */
const CREDS = `-----BEGIN NATS USER JWT-----
eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.e30.AA
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
SUAIBDPBAUTWCWBKIO6XHQNINK5FWJW4OHLXC3HQ2KFE4PEJUA44CNHTC4
------END USER NKEY SEED------
`;

test("each request has its own time, whatever waits beside it", async () => {
  const stage = await stageFor({ retries: 0 });
  stage.responder.fault = () => "lost";
  const started = performance.now();
  const waiting = [600, 60, 300, 60_000].map(async (timeout) => {
    const request = stage.vlinder.client.request(TODO, "kv.get", { key: "/a" }, { timeout });
    const error: unknown = await request.catch((thrown: unknown) => thrown);
    return { timeout, error, waited: performance.now() - started };
  });
  const [longest] = waiting.splice(3);
  for (const one of waiting) {
    const { timeout, error, waited } = await one;
    expect(error).toMatchObject({ code: "timeout", details: { timeout } });
    expect(waited).toBeGreaterThanOrEqual(timeout - 1);
    expect(waited).toBeLessThan(timeout + 250);
  }
  // It goes on waiting until the client is closed.
  await stage.vlinder.close();
  expect(await longest).toMatchObject({ error: { code: "unavailable" } });
});
