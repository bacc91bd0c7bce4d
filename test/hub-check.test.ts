import { execFile } from "node:child_process";
import path from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { HubServer } from "./harness/hub/server.ts";
import { IS_LONG } from "./harness/long.ts";

const PROGRAM = path.join(import.meta.dirname, "hub-check/main.ts");

async function hubCheck(token: string): Promise<{ server: HubServer; code: number; out: string }> {
  const server = await HubServer.start({ people: { hf_right: { name: "me", role: "write" } } });
  onTestFinished(() => server.close());
  const env = { ...process.env, HF_TOKEN: token, HF_ENDPOINT: server.url };
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [PROGRAM, "me/vault"], { env }, (_, out, errors) => {
      resolve({ server, code: child.exitCode ?? -1, out: out + errors });
    });
  });
}

test("a wrong token is said, with what to do", async () => {
  const { code, out } = await hubCheck("hf_wrong");
  expect(code).toBe(1);
  expect(out).toContain("the token from HF_TOKEN is not accepted");
  expect(out).not.toContain("hf_wrong");
});

test.runIf(IS_LONG)("all of it passes on the strict Hub, and nothing is left there", async () => {
  const { code, out, server } = await hubCheck("hf_right");
  expect(out).not.toContain("FAIL");
  expect(code).toBe(0);
  expect(server.buckets.get("me/vault")?.list()).toEqual([]);
  // Of the questions to the service, one is whether it takes too large a batch.
  const refused = server.log.entries.filter(({ status }) => status === 400).map(({ note }) => note);
  expect(refused).toEqual(["101 operations in one batch"]);
});
