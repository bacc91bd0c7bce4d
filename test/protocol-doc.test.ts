import { mkdir, realpath, writeFile } from "node:fs/promises";
import path from "node:path";
import { decodeBody } from "@vlinder/protocol";
import type { Msg } from "nats";
import { expect, onTestFinished, test } from "vitest";
import { readmeExamples, runExample } from "../agent-runtime/test/readme-examples.ts";
import { Placeholders, readProtocolDocument } from "../protocol/test/protocol-document.ts";
import { HttpProvider, json } from "./harness/http-provider.ts";
import { newStage, SYNC_BY_HAND } from "./harness/stage.ts";
import { ask } from "./harness/wire.ts";

const stage = newStage();
const ADMIN = /^(agents|daemon|providers|sync|vault)\./;
/** A drill starts a thread, which a busy machine takes its time for; milliseconds. */
const PATIENT = 50_000;

test("every example of PROTOCOL.md is answered as the document says", async () => {
  const { steps, messages, manifest } = await readProtocolDocument();
  const provider = await HttpProvider.start();
  onTestFinished(() => provider.stop());
  provider.answering = json({ choices: [], usage: { prompt_tokens: 1, completion_tokens: 2 } });
  const daemon = await stage.daemon(`[providers.local]\nurl = "${provider.url}"\n${SYNC_BY_HAND}`);
  const folder = await stage.path("example");
  await mkdir(folder);
  await writeFile(path.join(folder, "agent.toml"), manifest);
  const dir = await realpath(folder);
  const placeholders = new Placeholders({
    dir,
    bucket: `file://${await stage.path("bucket")}`,
    file: await stage.path("example.tar"),
    copies: await stage.path("copies"),
  });
  const admin = await stage.wire(daemon);
  const heard: { subject: string; body: unknown }[] = [];
  admin.subscribe("vlinder.v1.example.*", { callback: hear });
  admin.subscribe("vlinder.v1.example.events.*", { callback: hear });
  function hear(_error: unknown, { subject, data, reply }: Msg): void {
    if ((reply ?? "") !== "") return;
    heard.push({ subject: subject.slice("vlinder.v1.example.".length), body: decodeBody(data) });
  }
  const different: string[] = [];
  for (const { operation, request, reply, error, line } of steps) {
    const subject = ADMIN.test(operation) ? `vlinder.admin.v1.${operation}` : `vlinder.v1.example.${operation}`;
    const answer = await ask(admin, subject, placeholders.fill(request), PATIENT);
    if ((answer.error !== null) !== error) different.push(`line ${line}: ${JSON.stringify(answer.body)}`);
    for (const what of placeholders.differences(reply, answer.body)) different.push(`line ${line}: ${what}`);
  }
  await admin.flush();
  for (const { subject, body, line } of messages) {
    const found = heard.filter((one) => one.subject === subject);
    const differences = found.map((one) => placeholders.differences(body, one.body));
    if (!differences.some((all) => all.length === 0)) different.push(`line ${line}: ${JSON.stringify(differences)}`);
  }
  expect(different).toEqual([]);
  expect(messages.map(({ subject }) => subject)).toEqual(["invoke", "events.turn"]);
  expect(steps.length).toBeGreaterThan(35);
});

test("the examples of the SDK's README print what they say, on the real daemon", async () => {
  const daemon = await stage.daemon();
  await stage.register(daemon, "todo", 'object_storage = "default"\n');
  const vectors = 'vector_storage = "default"\n[vectors]\ndimension = 384\n';
  await stage.register(daemon, "librarian", `object_storage = "default"\n${vectors}`);
  // Found through the home, as a reader's own daemon is.
  const environment = { VLINDER_HOME: daemon.home, VLINDER_URL: "", VLINDER_CREDS: "" };
  const examples = await readmeExamples();
  expect(examples.length).toBeGreaterThan(7);
  for (const example of examples) expect(await runExample(example, environment), example.title).toEqual(example.output);
});
