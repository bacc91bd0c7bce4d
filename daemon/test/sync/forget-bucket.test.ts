import type { AgentName, DeviceId, Hash } from "@vlinder/protocol";
import { expect, onTestFinished, test } from "vitest";
import { StateEngine } from "../../src/state/engine.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import { openBucket } from "../../src/sync/buckets/open.ts";
import { listAgent, packPath } from "../../src/sync/listing.ts";
import { decodePack } from "../../src/sync/pack.ts";
import { contract, put, TestClock } from "../state/harness.ts";
import { FaultyBucket, type Outcome } from "./faulty-bucket.ts";
import { Machine, tempBucket, TODO } from "./machine.ts";
import { dice, noise } from "./noise.ts";
import { IS_LONG } from "../../../test/harness/long.ts";
import { wrapped } from "./wrapped-bucket.ts";

const GRACE = 7 * 24 * 3_600_000;

type Box = Machine<StateEngine>;

/** Machines with the real engine on one bucket, and one clock. */
class Boxes {
  readonly clock = new TestClock();
  readonly uri: string;

  private constructor(uri: string) {
    this.uri = uri;
  }

  static async start(): Promise<{ boxes: Boxes; a: Box; b: Box }> {
    const boxes = new Boxes(await tempBucket());
    const [a, b] = [await boxes.box(), await boxes.box()];
    await a.add();
    await a.todo.setContract(contract());
    await put(a.todo, { "/first": "1" });
    await a.syncAll();
    await b.syncAll();
    await a.syncAll();
    return { boxes, a, b };
  }

  async box(over = 5): Promise<Box> {
    const machine: Box = await Machine.start<StateEngine>({
      packs: { over, grace: GRACE },
      now: this.clock.now,
      make: async (agent: string, device: DeviceId) => {
        const engine = await StateEngine.open({
          agent: agent as AgentName,
          storage: new MemoryObjects(`memory://${device}`),
          device: () => device,
          now: this.clock.now,
          roots: () => ({ heads: () => machine.sync.knownHeads(TODO) }),
          onErased: (_rows, hashes) => machine.sync.erased(TODO, hashes),
        });
        onTestFinished(() => engine.close());
        return engine;
      },
    });
    await machine.sync.init(this.uri);
    return machine;
  }

  /** All that the packs hold, as one text for each. */
  async bytes(): Promise<Map<Hash, Buffer>> {
    const bucket = await openBucket(this.uri);
    const found = new Map<Hash, Buffer>();
    for (const pack of (await listAgent(bucket, TODO)).packs.keys()) {
      const objects = await decodePack((await bucket.get(packPath(TODO, pack))) as Buffer);
      found.set(pack, Buffer.concat(objects.map((object) => Buffer.from(object.bytes))));
    }
    return found;
  }

  async has(text: string | Buffer): Promise<boolean> {
    return [...(await this.bytes()).values()].some((bytes) => bytes.includes(text));
  }

  /** A new machine takes all that the bucket has, and nothing of it is missing or damaged. */
  async clone(): Promise<Box> {
    const box = await this.box(1000);
    await box.syncAll();
    await box.todo.retention.settle();
    const { damage } = await box.todo.verify();
    expect(damage).toEqual([]);
    return box;
  }

  /** Over the grace, with everybody at work. */
  async graceEnds(...all: Box[]): Promise<void> {
    for (let i = 0; i < 2; i++) {
      for (const box of all) await box.syncAll();
      this.clock.tick(GRACE);
    }
    for (let i = 0; i < 2; i++) for (const box of all) await box.syncAll();
  }
}

/** What a key holds, also where others hold what was erased. */
async function valueOf({ todo }: Box, key: string): Promise<string> {
  const entry = await (await todo.stateOf()).get("kv", key as never);
  if (entry === null) return "absent";
  return Buffer.from(await todo.requiredValue(entry.hash, entry.size)).toString();
}

async function forget(box: Box, key: string): Promise<void> {
  await box.todo.retention.forget({ key: key as never, isPrefix: false }, true);
}

const SECRET = "a secret of some length that was pushed";

test("a value that another machine put under another key meanwhile is pushed again by it", async () => {
  const { boxes, a, b } = await Boxes.start();
  await put(a.todo, { "/secret": SECRET, "/gone": "another that nobody needs" });
  await a.syncAll();
  await b.syncAll();
  // One more stands on the old packs, and is away.
  await boxes.clone();
  await put(b.todo, { "/mine": SECRET });
  // The bucket has the bytes: its push sends none.
  await b.push();
  for (const key of ["/secret", "/gone"]) await forget(a, key);
  await a.push();
  // It needs it, and learns by its own push that it must send it again.
  await b.push();
  expect(await valueOf(await boxes.clone(), "/mine")).toBe(SECRET);
  await boxes.graceEnds(a, b);
  await boxes.graceEnds(a, b);
  expect(await boxes.has("another that nobody needs")).toBe(false);
  expect(await boxes.has(SECRET)).toBe(true);
  for (const box of [a, b, await boxes.clone()]) expect(await valueOf(box, "/mine")).toBe(SECRET);
});

test("a machine that is lost put an erased value under another key: it is kept from the packs that are to be deleted", async () => {
  const { boxes, a, b } = await Boxes.start();
  const large = noise(1, 150_000);
  await put(a.todo, { "/secret": SECRET, "/large": large });
  await a.syncAll();
  await b.syncAll();
  await put(b.todo, { "/mine": SECRET, "/large/mine": large });
  expect((await b.push()).bytes).toBeLessThan(4000);
  for (const key of ["/secret", "/large"]) await forget(a, key);
  // B is never seen again.
  expect((await a.push()).error).toBeNull();
  await boxes.graceEnds(a);
  const expected = { "/first": "1", "/mine": SECRET, "/large/mine": large.toString() };
  for (const box of [a, await boxes.clone()]) {
    for (const [key, value] of Object.entries(expected)) expect(await valueOf(box, key)).toBe(value);
  }
});

test("of a large value the parts go that no other value has, also one that was put elsewhere meanwhile", async () => {
  const { boxes, a, b } = await Boxes.start();
  const [head, mine, tail] = [noise(1, 150_000), noise(2, 120_000), noise(3, 120_000)];
  await put(a.todo, { "/secret": Buffer.concat([head, mine]), "/stays": Buffer.concat([tail, head]) });
  await a.syncAll();
  await b.syncAll();
  await put(b.todo, { "/of-b": Buffer.concat([tail, mine.subarray(40_000)]) });
  await b.push();
  await forget(a, "/secret");
  await a.push();
  await boxes.graceEnds(a, b);
  const clone = await boxes.clone();
  for (const box of [a, b, clone]) {
    expect(await valueOf(box, "/stays")).toBe(Buffer.concat([tail, head]).toString());
    expect(await valueOf(box, "/of-b")).toBe(Buffer.concat([tail, mine.subarray(40_000)]).toString());
  }
  expect(await boxes.has(mine.subarray(0, 4000))).toBe(false);
});

test("a forget that is cut off at the bucket is made good by the next push", async () => {
  const { boxes, a, b } = await Boxes.start();
  await put(a.todo, { "/secret": SECRET });
  await a.syncAll();
  await b.syncAll();
  await forget(a, "/secret");
  a.wrap = (bucket) =>
    wrapped(bucket, {
      put: (files) =>
        files.some(({ path }) => path.endsWith(".dropped")) ? Promise.reject(new Error("dead")) : bucket.put(files),
    });
  await a.sync.push();
  expect((await a.sync.status()).agents[0]?.notes.join()).toContain("tried again");
  a.wrap = (bucket) => bucket;
  await a.restart();
  await b.syncAll();
  await a.syncAll();
  await b.syncAll();
  await a.syncAll();
  expect(await boxes.has(SECRET)).toBe(false);
  await boxes.clone();
});

const OUTCOMES: readonly Outcome[] = ["fail before", "fail after", "kill before", "kill after"];

/** One of a machine's pushes or pulls, with a fault at a call that chance says, or none. */
async function syncWithFault(box: Box, roll: (below: number) => number): Promise<boolean> {
  const at = 1 + roll(12);
  const outcome = OUTCOMES[roll(4)] as Outcome;
  let calls = 0;
  let fired = false;
  box.wrap = (bucket) =>
    new FaultyBucket(bucket, () => {
      if (++calls !== at) return "fine";
      fired = true;
      return outcome;
    });
  await (roll(3) === 0 ? box.sync.pull() : box.sync.push()).catch((error: unknown) =>
    expect(String(error)).toMatch(/injected|killed|dead/),
  );
  box.wrap = (bucket) => bucket;
  if (fired && outcome.startsWith("kill")) await box.restart();
  return fired;
}

for (const seed of IS_LONG ? Array.from({ length: 40 }, (_, i) => i + 1) : [1]) {
  test(`seed ${seed}: machines that write, forget, merge, die and are away agree, and the bucket has all of it and nothing that was forgotten`, async () => {
    const roll = dice(seed);
    const { boxes, a, b } = await Boxes.start();
    const c = await boxes.box();
    await c.syncAll();
    const all = [a, b, c] as const;
    /** Each key is put once; a text may be under several. */
    const texts = new Map<string, string>();
    const forgotten = new Set<string>();
    let fired = 0;
    for (let i = 0; i < (IS_LONG ? 200 : 60); i++) {
      const box = all[roll(3)] as Box;
      const what = roll(10);
      if (what < 4) {
        const old = [...texts.values()][roll(texts.size + 1)];
        const fresh = roll(5) === 0 ? noise(seed * 1000 + i, 60_000).toString("hex") : `value ${i} of seed ${seed}`;
        const text = old !== undefined && roll(3) === 0 ? old : fresh;
        await put(box.todo, { [`/k${i}`]: text });
        texts.set(`/k${i}`, text);
      } else if (what === 4 && texts.size > 3) {
        const key = [...texts.keys()][roll(texts.size)] as string;
        if ((await (await box.todo.stateOf()).get("kv", key as never)) === null) continue;
        forgotten.add(key);
        await forget(box, key);
      } else if (what === 5) boxes.clock.tick(roll(3) === 0 ? GRACE : 3_600_000);
      else if (what === 6) await box.restart();
      // A new machine can be made at any time, and is then away for ever.
      else if (what === 7 && roll(IS_LONG ? 8 : 3) === 0) await boxes.clone();
      else if (await syncWithFault(box, roll)) fired++;
    }
    for (let i = 0; i < 3; i++) for (const box of all) await box.syncAll();
    for (let i = 0; i < 3; i++) await boxes.graceEnds(...all);
    const clone = await boxes.clone();
    const heads = new Set(await Promise.all([...all, clone].map(({ todo }) => todo.resolve("main"))));
    expect(heads.size).toBe(1);
    const kept = [...texts].filter(([key]) => !forgotten.has(key));
    for (const box of [...all, clone]) {
      for (const [key, text] of kept) expect(await valueOf(box, key), key).toBe(text);
      expect((await box.todo.verify()).damage).toEqual([]);
    }
    const packs = await boxes.bytes();
    process.stdout.write(
      `seed ${seed}: ${fired} faults, ${kept.length} keys kept, ${forgotten.size} forgotten, ${packs.size} packs\n`,
    );
    const bytes = Buffer.concat([...packs.values()]);
    const needed = new Set(kept.map(([, text]) => text));
    for (const key of forgotten) {
      const text = texts.get(key) as string;
      if (!needed.has(text)) expect(bytes.includes(text), key).toBe(false);
    }
  }, 120_000);
}
