import type { AgentName } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { newStage } from "./harness/stage.ts";

const stage = newStage();
const BATCHES = 48;
const IN_FLIGHT = 4;

test("a write never blocks another agent's read: gets are answered while another agent's storage is busy", async () => {
  const daemon = await stage.daemon();
  const admin = await stage.admin(daemon);
  await stage.register(daemon, "busy");
  await stage.register(daemon, "quick");
  const quick = await stage.sdk(daemon, "quick");
  for (let i = 0; i < 20; i++) await quick.kv.put(`/${i}`, `value ${i}`);

  let done = 0;
  let sent = 0;
  const load = Array.from({ length: IN_FLIGHT }, async () => {
    for (let n = sent++; n < BATCHES; n = sent++) {
      const value = Buffer.alloc(850, n);
      const ops = Array.from({ length: 1000 }, (_v, i) => ({ op: "put" as const, key: `/${n}/${i}`, value }));
      await admin.request("busy" as AgentName, "kv.batch", { ops }, { timeout: 60_000 });
      done++;
    }
  });
  const started = performance.now();
  const waits: number[] = [];
  for (let i = 0; done < BATCHES; i++) {
    const asked = performance.now();
    expect((await quick.kv.get(`/${i % 20}`))?.text()).toBe(`value ${i % 20}`);
    if (done < BATCHES) waits.push(performance.now() - asked);
  }
  await Promise.all(load);
  // Had the gets waited for the batches, the first one would have been answered after the last of them.
  expect(waits.length).toBeGreaterThan(4);
  expect(Math.max(...waits)).toBeLessThan((performance.now() - started) / 2);
});
