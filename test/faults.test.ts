import type { AgentName } from "@vlinder/protocol";
import { VlinderError } from "@vlinder/protocol";
import type { Client } from "@vlinder/agent-runtime";
import { describe, expect, onTestFinished, test } from "vitest";
import { allFaults } from "./harness/faults/faults.ts";
import type { Fault } from "./harness/faults/fault.ts";
import { until } from "./harness/processes.ts";
import { allKeys, headOf } from "./harness/reading.ts";
import { newStage } from "./harness/stage.ts";
import type { TestDaemon } from "./harness/test-daemon.ts";

const stage = newStage();
const AGENT = "load" as AgentName;
const ROUNDS = 2;

async function start(fault: Fault): Promise<{ daemon: TestDaemon; client: Client }> {
  const daemon = await stage.newDaemon();
  fault.prepare(daemon);
  onTestFinished(async () => {
    await daemon.stop();
    fault.dispose();
  });
  await daemon.configure();
  await daemon.start();
  await stage.register(daemon, AGENT, 'object_storage = "sqlite://objects.db"\n');
  // Nothing is tried again by itself: what the daemon says is what is looked at.
  return { daemon, client: await stage.client({ home: daemon.home, retries: 0 }) };
}

interface Attempts {
  readonly acknowledged: string[];
  readonly refused: VlinderError[];
  readonly refusedKeys: string[];
}

/** So many puts at once, each of a key of its own. */
async function puts(client: Client, name: string, count: number): Promise<Attempts> {
  const attempts: Attempts = { acknowledged: [], refused: [], refusedKeys: [] };
  const keys = Array.from({ length: count }, (_, i) => `/${name}/${i}`);
  await Promise.all(
    keys.map(async (key) => {
      try {
        await client.request(AGENT, "kv.put", { key, value: `value of ${key} `.repeat(20) });
        attempts.acknowledged.push(key);
      } catch (error) {
        if (!(error instanceof VlinderError)) throw error;
        attempts.refused.push(error);
        attempts.refusedKeys.push(key);
      }
    }),
  );
  return attempts;
}

async function isThere(client: Client, key: string): Promise<boolean> {
  try {
    const { value } = await client.request(AGENT, "kv.get", { key });
    expect(Buffer.from(value).toString()).toBe(`value of ${key} `.repeat(20));
    return true;
  } catch (error) {
    if (error instanceof VlinderError && error.code === "not_found") return false;
    throw error;
  }
}

describe.each(allFaults(AGENT))("$name", (fault) => {
  test.skipIf(fault.skip !== null)(
    `writes are refused, reads go on, and it recovers by itself${fault.skip === null ? "" : ` (skipped: ${fault.skip})`}`,
    { timeout: 120_000 },
    async () => {
      const { daemon, client } = await start(fault);
      const kept = (await puts(client, "before", 20)).acknowledged;
      const gone: string[] = [];
      expect(kept).toHaveLength(20);
      for (let round = 0; round < ROUNDS; round++) {
        fault.inject(daemon);
        const firedBefore = fault.fired?.() ?? 0;
        let attempts = await puts(client, `during-${round}-0`, 16);
        // A file may have room for some more.
        for (let more = 1; attempts.refused.length === 0; more++) {
          kept.push(...attempts.acknowledged);
          expect(more, "the fault has no effect").toBeLessThan(200);
          attempts = await puts(client, `during-${round}-${more}`, 16);
        }
        kept.push(...attempts.acknowledged);
        gone.push(...attempts.refusedKeys);
        for (const error of attempts.refused) {
          expect(error).toMatchObject({ code: "unavailable", retryable: true });
          expect(error.remedy).toMatch(/\w+ \w+ \w+/);
        }
        if (fault.fired !== undefined) expect(fault.fired()).toBeGreaterThan(firedBefore);
        const head = await headOf(client, AGENT);
        for (const key of kept.slice(-30)) expect(await isThere(client, key), key).toBe(true);
        for (const key of gone.slice(-16)) expect(await isThere(client, key), key).toBe(false);
        expect(await headOf(client, AGENT)).toBe(head);
        expect(await client.request(AGENT, "timeline.verify", {}, { timeout: 60_000 })).toMatchObject({ ok: true });

        fault.heal(daemon);
        let recovered: Attempts | null = null;
        await until("writes go on", async () => {
          recovered = await puts(client, `after-${round}-${Date.now()}`, 4);
          kept.push(...recovered.acknowledged);
          gone.push(...recovered.refusedKeys);
          return recovered.refused.length === 0;
        });
      }
      const check = async (client: Client): Promise<void> => {
        const there = new Set((await allKeys(client, AGENT)).map(({ key }) => key));
        expect(
          kept.filter((key) => !there.has(key)),
          "acknowledged, and not there",
        ).toEqual([]);
        expect(
          gone.filter((key) => there.has(key)),
          "refused, and there",
        ).toEqual([]);
        expect(there.size).toBe(kept.length);
        const report = await client.request(AGENT, "timeline.verify", {}, { timeout: 60_000 });
        expect(report).toMatchObject({ ok: true, damaged: 0 });
      };
      await check(client);
      const head = await headOf(client, AGENT);
      await daemon.kill();
      await daemon.start();
      const again = await stage.client({ home: daemon.home });
      expect(await headOf(again, AGENT)).toBe(head);
      await check(again);
      expect(daemon.log.filter((line) => line.includes("unhandled") || line.includes("uncaught"))).toEqual([]);
    },
  );
});
