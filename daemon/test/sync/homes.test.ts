import { cp, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { put } from "../state/harness.ts";
import { type Box, EngineFleet, GRACE, lacking, meet, same } from "./engine-fleet.ts";
import { TODO } from "./machine.ts";
import { IS_LONG } from "../../../test/harness/long.ts";

// A home is a folder: people copy it to a second machine, and bring it back from a backup. Then two write under one id, or one has
// forgotten what it said.

for (const encrypt of IS_LONG ? [false, true] : [true]) {
  describe(`in ${encrypt ? "an encrypted" : "a plain"} vault, a home that was`, () => {
    test("copied to a second machine: both go on writing, nothing is lost, and it is said", async () => {
      const { fleet, boxes } = await EngineFleet.start(2, { encrypt, isStored: true });
      const [a, b] = boxes as [Box, Box];
      const acknowledged = [await put(a.todo, { "/before": "1" })];
      await a.syncAll();
      acknowledged.push(await put(a.todo, { "/owed": "1" }));
      await fleet.stop(a);
      const home = await fleet.copy(a.home);
      const [original, copy] = [await fleet.wake(a.home, a.device), await fleet.wake(home, a.device)];
      for (let i = 0; i < 4; i++) {
        acknowledged.push(await put(original.todo, { "/same": `original ${i}`, [`/original/${i}`]: "1" }));
        acknowledged.push(await put(copy.todo, { "/same": `copy ${i}`, [`/copy/${i}`]: "1" }));
        acknowledged.push(await put(b.todo, { [`/b/${i}`]: "1" }));
        if (i === 0) await Promise.all([original.push(), copy.push()]);
        else await Promise.all([original.syncAll(), copy.syncAll(), b.syncAll()]);
      }
      await meet(original, copy, b);
      expect(new Set([original.device, copy.device]).size).toBe(2);
      expect([...original.log, ...copy.log].join("\n")).toMatch(/a copied home, or a restored backup/);
      const clone = await fleet.clone();
      await same(original, copy, b, clone);
      for (const box of [original, copy, b, clone]) expect(await lacking(box, acknowledged)).toEqual([]);
    });

    test("restored from an old backup goes on, also after its packs were merged and deleted: nothing is lost, and it is said", async () => {
      const { fleet, boxes } = await EngineFleet.start(2, { encrypt, isStored: true, over: 3 });
      const [a, b] = boxes as [Box, Box];
      const acknowledged: string[] = [];
      const write = async (box: Box, name: string): Promise<void> => {
        acknowledged.push(await put(box.todo, { [`/${name}`]: name, "/same": name }));
        await box.syncAll();
      };
      for (let i = 0; i < 3; i++) await write(a, `first-${i}`);
      await fleet.stop(a);
      const backup = await fleet.copy(a.home);
      const later = await fleet.wake(a.home, a.device);
      for (let i = 0; i < 8; i++) {
        await write(later, `later-${i}`);
        await write(b, `b-${i}`);
      }
      for (let i = 0; i < 3; i++) {
        fleet.clock.tick(GRACE);
        await meet(later, b);
      }
      await fleet.stop(later);
      const restored = await fleet.wake(backup, a.device);
      // It writes before it hears anything, and pushes before it pulls.
      acknowledged.push(await put(restored.todo, { "/restored": "1", "/same": "restored" }));
      expect((await restored.push()).error).toBeNull();
      expect(restored.device).not.toBe(a.device);
      expect((await restored.sync.status()).agents[0]?.notes.join()).toMatch(/a copied home, or a restored backup/);
      await meet(restored, b);
      const clone = await fleet.clone();
      await same(restored, b, clone);
      for (const box of [restored, b, clone]) expect(await lacking(box, acknowledged)).toEqual([]);
    });

    test("set back in its storage alone (a file that was brought back, a disk that lost its last writes): what it had pushed comes back", async () => {
      const { fleet, boxes } = await EngineFleet.start(1, { encrypt, isStored: true });
      let [a] = boxes as [Box];
      const acknowledged: string[] = [];
      const write = async (name: string): Promise<void> => {
        acknowledged.push(await put(a.todo, { [`/${name}`]: name, "/same": name }));
        expect((await a.push()).error).toBeNull();
      };
      await write("first");
      await fleet.stop(a);
      const backup = await fleet.copy(a.home);
      a = await fleet.wake(a.home, a.device);
      await write("second");
      await write("third");
      await fleet.stop(a);
      const folder = join(a.home, "agents", TODO);
      const isState = (name: string): boolean => name.startsWith("objects.db");
      for (const name of (await readdir(folder)).filter(isState)) await rm(join(folder, name));
      const old = join(backup, "agents", TODO);
      for (const name of (await readdir(old)).filter(isState)) await cp(join(old, name), join(folder, name));
      a = await fleet.wake(a.home, a.device);
      await write("fourth");
      expect((await a.sync.status()).agents[0]?.notes.join()).toMatch(/was set back/);
      await meet(a);
      const clone = await fleet.clone();
      await same(a, clone);
      for (const box of [a, clone]) expect(await lacking(box, acknowledged)).toEqual([]);
    });
  });
}
