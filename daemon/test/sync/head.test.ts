import { type AgentName, canonicalJson, type DeviceId, type Hash, type Json, sha256 } from "@vlinder/protocol";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { chmod, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { deviceFromSeed, openDevice, type PublicKey } from "../../src/sync/vault/device.ts";
import { decodeHead, encodeHead, type Head, type HeadBody, headPath, type HeadName } from "../../src/sync/head.ts";
import type { VaultId } from "../../src/sync/vault/vault.ts";
import { tempFolder } from "./machine.ts";

// The seed and public key of RFC 8032, 7.1, test 1.
const SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const KEY = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a" as PublicKey;
const ID = "00112233445566778899aabbccddeeff" as DeviceId;
const VAULT = "0123456789abcdef0123456789abcdef" as VaultId;
const device = deviceFromSeed(ID, Buffer.from(SEED, "hex"));
const hash = (text: string): Hash => sha256(text);

const BODY: HeadBody = {
  agent: "todo" as AgentName,
  branches: [
    { id: hash("a"), name: "fix", head: null, deleted: [hash("its commit")], sealed: false },
    { id: hash("main"), name: "main", head: hash("a commit"), deleted: [], sealed: false },
  ].toSorted((a, b) => (a.id < b.id ? -1 : 1)),
  device: ID,
  key: KEY,
  n: 7,
  packs: [hash("pack 2"), hash("pack 1")],
  predecessors: [hash("head 6")],
  time: "2026-11-20T21:40:00.123Z",
  vault: VAULT,
};

const nameOf = ({ body, hash: sum }: Head): HeadName => ({
  agent: body.agent,
  device: body.device,
  n: body.n,
  hash: sum,
});

/** A head whose parts were changed, signed again unless told otherwise. */
function forged(change: (envelope: Record<string, Json>, body: Record<string, Json>) => void, sign = true): Head {
  const head = encodeHead(BODY, device);
  const envelope = JSON.parse(String(head.bytes)) as Record<string, Json>;
  const body = envelope["body"] as Record<string, Json>;
  change(envelope, body);
  if (sign) envelope["signature"] = device.sign(`vlinder head 1\n${canonicalJson(body)}`);
  const bytes = Buffer.from(canonicalJson(envelope));
  return { body: BODY, bytes, hash: sha256(bytes) };
}

describe("the head format", () => {
  test("has these bytes", () => {
    const head = encodeHead(BODY, device);
    expect(device.key).toBe(KEY);
    expect(String(head.bytes)).toBe(
      '{"body":{"agent":"todo","branches":[{"deleted":[],"head":"b1f7e24abfa5d1e69ead441f9fcce6196c4c453ebc' +
        '0eef795cab84b80133b8cc","id":"0d6e4079e36703ebd37c00722f5891d28b0e2811dc114b129215123adcce3605","nam' +
        'e":"main","sealed":false},{"deleted":["520693e06c7d195cffb506bd5f3a9d12803ea1f81199d226090d43fd5f4bb' +
        'f40"],"head":null,"id":"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb","name":"fi' +
        'x","sealed":false}],"device":"00112233445566778899aabbccddeeff","key":"d75a980182b10ab7d54bfed3c9640' +
        '73a0ee172f3daa62325af021a68f707511a","n":7,"packs":["885d1cb8b13fda1c5639f283815cc61320afeac4e5736ce' +
        '80dca3760c6bcbca5","be955617dac3a89aee7058a1cca9ef93617148273b677c694b3bbf87367ef35d"],"predecessors' +
        '":["34f233091a150fee9397b8e9431138b76e96685c006c1c09a2de353fed499815"],"time":"2026-11-20T21:40:00.1' +
        '23Z","vault":"0123456789abcdef0123456789abcdef"},"encryption":"none","signature":"5d7aab12c734911659' +
        "1c1cef766087684facbc407000628f10ba9d11ca6c5a70581b4b7e32b59697e4c9ebae228b4b05512097688dc634b1de8437" +
        'fb4b4a1209","v":1}',
    );
    expect(head.hash).toBe("abba9c9a244422dc9bc07d5e91950461f668cf845b5cedf6833b7c5c5fca674d");
    expect(headPath(nameOf(head))).toBe(`agents/todo/heads/${ID}/7-${head.hash}.json`);
    expect(decodeHead(head.bytes, nameOf(head), VAULT)).toEqual(head);
  });

  const refused: Record<string, Head> = {
    "with another signature": forged((envelope) => (envelope["signature"] = "00".repeat(64)), false),
    "whose body was changed": forged((_, body) => (body["time"] = "2027-11-20T21:40:00.123Z"), false),
    "signed for another purpose": forged(
      (envelope, body) => (envelope["signature"] = device.sign(canonicalJson(body))),
      false,
    ),
    "with another key": forged((_, body) => (body["key"] = "11".repeat(32))),
    "with a key that is no point": forged((_, body) => (body["key"] = "ff".repeat(32))),
    "of a newer version": forged((envelope) => (envelope["v"] = 2)),
    "that is encrypted": forged((envelope) => (envelope["encryption"] = "age")),
    "with an unknown field": forged((envelope) => (envelope["x"] = 1)),
    "with an unknown field in its body": forged((_, body) => (body["x"] = 1)),
    "of another agent": forged((_, body) => (body["agent"] = "other")),
    "of another device": forged((_, body) => (body["device"] = "ff".repeat(16))),
    "of another number": forged((_, body) => (body["n"] = 8)),
    "of number 0": forged((_, body) => (body["n"] = 0)),
    "of another vault": forged((_, body) => (body["vault"] = "ff".repeat(16))),
    "with branches out of order": forged((_, body) => (body["branches"] as Json[]).reverse()),
    "with a branch twice": forged(
      (_, body) => (body["branches"] = Array(2).fill((body["branches"] as Json[])[0]) as Json),
    ),
    "with a pack twice": forged((_, body) => (body["packs"] = [hash("p"), hash("p")])),
    "with a pack that leads out": forged((_, body) => (body["packs"] = ["../../x"])),
    "with predecessors out of order": forged(
      (_, body) => (body["predecessors"] = [hash("b"), hash("a")].toSorted().reverse()),
    ),
    "with a branch that has neither head nor tombstone": forged((_, body) => {
      body["branches"] = [{ deleted: [], head: null, id: hash("x"), name: "x", sealed: false }];
    }),
    "with a branch that has both": forged((_, body) => {
      body["branches"] = [
        { deleted: [hash("x"), hash("x")], head: hash("x"), id: hash("x"), name: "x", sealed: false },
      ];
    }),
    "with a branch of a bad name": forged((_, body) => {
      body["branches"] = [{ deleted: [], head: hash("x"), id: hash("x"), name: "../x", sealed: false }];
    }),
  };
  for (const [what, head] of Object.entries(refused)) {
    test(`a head ${what} is refused`, () => {
      const name = { agent: BODY.agent, device: ID, n: 7, hash: head.hash };
      expect(() => decodeHead(head.bytes, name, VAULT)).toThrow(expect.objectContaining({ code: "invalid" }));
    });
  }

  test("a head in another spelling is refused, though its signature is good", () => {
    const bytes = Buffer.from(`${String(encodeHead(BODY, device).bytes)}\n`);
    const name = { agent: BODY.agent, device: ID, n: 7, hash: sha256(bytes) };
    expect(() => decodeHead(bytes, name, VAULT)).toThrow("canonical");
  });

  test("a head changed in any byte is refused", () => {
    const { bytes } = encodeHead(BODY, device);
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] as number) ^ flip;
        const name = { agent: BODY.agent, device: ID, n: 7, hash: sha256(changed) };
        expect(() => decodeHead(changed, name, VAULT)).toThrow(expect.objectContaining({ name: "VlinderError" }));
      }),
      { numRuns: 1000 },
    );
  });
});

describe("the device's key", () => {
  test("is made once, with mode 0600, and stays", async () => {
    const home = await tempFolder();
    const made = await openDevice(home, ID);
    expect((await stat(join(home, "sync", "device-key"))).mode & 0o777).toBe(0o600);
    expect((await openDevice(home, ID)).key).toBe(made.key);
    expect(await readFile(join(home, "sync", "device-key"), "utf8")).toContain(ID);
  });

  test("belongs to its id: another id gets another key", async () => {
    const home = await tempFolder();
    const made = await openDevice(home, ID);
    const other = await openDevice(home, "ff".repeat(16) as DeviceId);
    expect(other.key).not.toBe(made.key);
  });

  test("that others can read is refused", async () => {
    const home = await tempFolder();
    await openDevice(home, ID);
    await chmod(join(home, "sync", "device-key"), 0o644);
    await expect(openDevice(home, ID)).rejects.toMatchObject({ code: "denied", remedy: /chmod 600/ });
  });
});
