import { readFile } from "node:fs/promises";
import { connect, credsAuthenticator } from "nats";
import { expect, test } from "vitest";
import { newStage } from "./harness/stage.ts";

const stage = newStage();

test("kv and vectors with nothing but a NATS client, a credentials file and JSON", async () => {
  const daemon = await stage.daemon();
  const { creds } = await stage.register(daemon, "todo");

  // From here on: what somebody without the SDK has.
  const connection = await connect({
    servers: daemon.url,
    authenticator: credsAuthenticator(await readFile(creds)),
    inboxPrefix: "_INBOX.todo",
  });
  const request = async (operation: string, asked: string) => {
    const reply = await connection.request(`vlinder.v1.todo.${operation}`, asked, { timeout: 10_000 });
    const body = reply.json<{ readonly state?: string; readonly [name: string]: unknown }>();
    return {
      ...body,
      code: reply.headers?.get("Nats-Service-Error-Code"),
      message: reply.headers?.get("Nats-Service-Error"),
    };
  };
  try {
    const put = await request("kv.put", '{"key":"/todos.json","value":"[\\"milk\\"]"}');
    expect(put).toMatchObject({ hash: "72c18bf40d81b1c91b6a7abc7644d767f418c601476b2404a25b2b0a35b8efdc" });
    expect(await request("kv.get", '{"key":"/todos.json"}')).toMatchObject({ value: '["milk"]', state: put.state });
    await request("kv.put", '{"key":"/picture","value":{"base64":"/9j/AA=="}}');
    expect(await request("kv.get", '{"key":"/picture"}')).toMatchObject({ value: { base64: "/9j/AA==" }, size: 4 });
    await request("kv.put", '{"key":"/grün/Äpfel","value":""}');
    expect(await request("kv.list", '{"prefix":"/grün/"}')).toMatchObject({
      items: [{ key: "/grün/Äpfel", size: 0 }],
      next: null,
    });
    const batch = '{"ops":[{"op":"delete","key":"/picture"},{"op":"put","key":"/b","value":"2"}]}';
    expect(await request("kv.batch", batch)).toMatchObject({ hashes: [null, expect.any(String)] });
    const missing = await request("kv.get", '{"key":"/picture"}');
    expect(missing).toMatchObject({ code: "not_found", error: { code: "not_found", retryable: false } });
    expect(missing.message).toContain("/picture");
    expect(await request("kv.history", '{"key":"/picture"}')).toMatchObject({
      items: [{ event: "kv.batch", hash: null }, { event: "kv.put" }],
    });

    await request("vector.put", '{"key":"/p/tea","vector":[1,0,0],"metadata":{"file":"tea.md"}}');
    await request("vector.put", '{"key":"/p/milk","vector":[0,1,0.5]}');
    expect(await request("vector.get", '{"key":"/p/milk"}')).toMatchObject({ vector: [0, 1, 0.5], metadata: {} });
    expect(await request("vector.search", '{"vector":[2,0,0],"limit":1}')).toMatchObject({
      items: [{ key: "/p/tea", score: 1, metadata: { file: "tea.md" } }],
    });
    const state = await request("vector.delete", '{"key":"/p/tea"}');
    expect(state).toMatchObject({ deleted: true });
    expect(await request("vector.search", '{"vector":[2,0,0],"limit":1}')).toMatchObject({
      items: [{ key: "/p/milk" }],
    });
    const before = `{"vector":[2,0,0],"limit":1,"at":"${String(put.state)}"}`;
    expect(await request("vector.search", before)).toMatchObject({ items: [] });
  } finally {
    await connection.close();
  }
});
