import { type AgentName, canonicalJson, type DeviceId, type Hash, type Json, sha256 } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { deviceFromSeed } from "../../src/sync/vault/device.ts";
import { decodeMark, encodeMark, type Mark } from "../../src/sync/packs/mark.ts";
import type { VaultId } from "../../src/sync/vault/vault.ts";

const AGENT = "todo" as AgentName;
const VAULT = "0f".repeat(16) as VaultId;
const device = deviceFromSeed("11".repeat(16) as DeviceId, Buffer.alloc(32, 7));
const [one, two, three, four] = ["1", "2", "3", "4"].map((text) => sha256(text)) as [Hash, Hash, Hash, Hash];

const mark: Mark = {
  after: [one],
  agent: AGENT,
  by: [{ name: four, raw: 12 }],
  device: device.id,
  key: device.key,
  left: [sha256("x")],
  packs: [two, three],
  time: "2026-11-26T04:00:00.000Z",
  vault: VAULT,
};

/** The same, signed by the same device, with something else in it. */
function signed(change: Record<string, Json>): Buffer {
  return encodeMark({ ...mark, ...change } as unknown as Mark, device);
}

const decode = (bytes: Buffer, pack = two): Mark => decodeMark(bytes, AGENT, pack, VAULT);

describe("the mark format", () => {
  test("is what it was, byte for byte", () => {
    const bytes = encodeMark(mark, device);
    expect(sha256(bytes)).toBe("3630bae95c49c2f93df3cd55d4b9817266dedbc5867b84fa5849b53bea7e6e6c");
    expect(decode(bytes)).toEqual(mark);
    expect(decode(bytes, three)).toEqual(mark);
  });

  test("changed in any byte it is refused", () => {
    const bytes = encodeMark(mark, device);
    for (let i = 0; i < bytes.length; i += 3) {
      const changed = Buffer.from(bytes);
      changed[i] = (changed[i] as number) ^ 1;
      expect(() => decode(changed), `byte ${i}`).toThrow(expect.objectContaining({ code: "invalid" }));
    }
  });

  for (const [what, change] of Object.entries({
    "of another agent": { agent: "other" },
    "of another vault": { vault: "00".repeat(16) },
    "that names a pack twice": { after: [two] },
    "that names its pack as its replacement": { by: [{ name: two, raw: 1 }] },
    "of no pack": { packs: [] },
    "of another pack": { packs: [three] },
    "with a hash that is none": { left: ["x"] },
    "with a replacement of no length": { by: [{ name: four, raw: 0 }] },
    "with a time that is none": { time: "2026-13-26T04:00:00.000Z" },
    "with a field that nobody knows": { more: 1 },
  })) {
    test(`one ${what} is refused`, () => {
      expect(() => decode(signed(change))).toThrow(expect.objectContaining({ code: "invalid" }));
    });
  }

  test("one that another key signed, and one of a newer release, are refused, the latter with what to do", () => {
    const other = deviceFromSeed(device.id, Buffer.alloc(32, 8));
    expect(() => decode(encodeMark(mark, other))).toThrow("its signature is wrong");
    const text = encodeMark(mark, device).toString();
    const newer = text.replace('"v":1}', '"v":2}');
    expect(() => decode(Buffer.from(newer))).toThrow(
      expect.objectContaining({
        code: "invalid",
        message: "a mark has format 2",
        remedy: expect.stringContaining("update"),
      }),
    );
    const { body, signature } = JSON.parse(text) as { body: Json; signature: string };
    const sealed = canonicalJson({ body, encryption: "age", signature, v: 1 });
    expect(() => decode(Buffer.from(sealed))).toThrow('a mark has encryption "age"');
  });
});
