import type { Client, Vlinder } from "@vlinder/agent-runtime";
import type { AgentName, CommitItem, VlinderError } from "@vlinder/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { HttpProvider } from "./harness/http-provider.ts";
import { until } from "./harness/processes.ts";
import { newStage } from "./harness/stage.ts";
import type { TestDaemon } from "./harness/test-daemon.ts";

const stage = newStage();
const AGENT = "caller" as AgentName;
let provider: HttpProvider;
let daemon: TestDaemon;
let vlinder: Vlinder;
let admin: Client;

beforeAll(async () => {
  provider = await HttpProvider.start();
  // Half an answer, and no end of it.
  provider.answering = async (response) => {
    response.writeHead(200, { "content-type": "text/plain" });
    response.write("half");
    await new Promise((resolve) => response.once("close", resolve));
  };
  daemon = await stage.daemon(`[providers.local]\nurl = "${provider.url}/v1"\n`);
  const services = '[requirements.services.infer]\nprovider = "local"\nmodels = ["m"]\n';
  await stage.register(daemon, AGENT, `object_storage = "sqlite://objects.db"\n${services}`);
  vlinder = await stage.sdk(daemon, AGENT);
  admin = await stage.admin(daemon);
});
afterAll(() => provider.stop());

test.each(["failed", "completed", "expired", "stopped"])(
  "a call that is broken off since its turn is %s is recorded, with what came of it",
  async (how) => {
    const turn = await vlinder.begin(how === "expired" ? { limit: 1.5 } : {});
    const asked = provider.seen.length;
    const refused = turn
      .fetch("http://vlinder/v1/chat/completions", { method: "POST", body: '{"model":"m"}' })
      .then((response) => response.text())
      .catch((error: unknown) => (error as VlinderError).code);
    await until("the provider is asked", () => provider.seen.length > asked);
    if (how === "failed") await turn.fail("cancelled");
    else if (how === "completed") await turn.complete();
    else if (how === "stopped") {
      expect(await daemon.stop()).toBe(0);
      await daemon.start();
    }
    const recorded = async (): Promise<CommitItem[]> => {
      const { items } = await admin.request(AGENT, "timeline.log", { all: true, limit: 100 });
      return items.filter((item) => item.turn === turn.id && item.event.kind === "call");
    };
    await until("the call is in history", async () => (await recorded()).length > 0, 10_000);
    expect(await refused).toBe("conflict");
    const [{ event, session, parents }] = (await recorded()) as [CommitItem];
    expect(event).toMatchObject({
      info: { model: "m", complete: false },
      values: { request: expect.anything() as unknown },
    });
    expect(session).toBe(turn.session);
    // Beside what the turn did, after its end.
    const before = await admin.request(AGENT, "timeline.show", { ref: parents[0] as string });
    expect(before.event.kind).toBe(how === "completed" ? "complete" : "fail");
    expect(await admin.request(AGENT, "timeline.verify", {})).toMatchObject({ ok: true });
  },
);
