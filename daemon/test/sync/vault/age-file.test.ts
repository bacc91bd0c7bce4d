import { randomBytes } from "node:crypto";
import { Decrypter, Encrypter } from "age-encryption";
import { describe, expect, test } from "vitest";
import { AGE_OVERHEAD, type AgeIdentity, openAge, sealAge } from "../../../src/sync/vault/age-file.ts";
import { sealedLength } from "../../../src/sync/vault/age-stream.ts";
import { newIdentity, recipientOf } from "../../../src/sync/vault/keys.ts";

const CHUNK = 64 * 1024;
const SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 5 * CHUNK + 17];
const identity = await newIdentity();
const recipient = await recipientOf(identity);

/** As the age library, which is not ours, has it. */
async function byLibrary(file: Uint8Array, key: AgeIdentity = identity): Promise<Buffer> {
  const decrypter = new Decrypter();
  decrypter.addIdentity(key);
  return Buffer.from(await decrypter.decrypt(file));
}

test.each(SIZES)("%d bytes that are sealed here are opened by the age library, and the other way", async (size) => {
  const plain = randomBytes(size);
  const sealed = await sealAge([recipient], plain);
  expect((await byLibrary(sealed)).equals(plain)).toBe(true);
  expect(sealed.length - size).toBeLessThan(300 + 16 * (1 + size / CHUNK));
  const encrypter = new Encrypter();
  encrypter.addRecipient(recipient);
  const theirs = Buffer.from(await encrypter.encrypt(plain));
  expect((await openAge([identity], theirs))?.equals(plain)).toBe(true);
});

test("each of the recipients can open it, nobody else", async () => {
  const others = await Promise.all([newIdentity(), newIdentity()]);
  const sealed = await sealAge([recipient, await recipientOf(others[0] as AgeIdentity)], Buffer.from("x"));
  expect(String(await openAge([others[0] as AgeIdentity], sealed))).toBe("x");
  expect(String(await openAge([others[1] as AgeIdentity, identity], sealed))).toBe("x");
  expect(await openAge([others[1] as AgeIdentity], sealed)).toBeNull();
  await expect(byLibrary(sealed, others[1])).rejects.toThrow();
});

test("the same plaintext never gives the same bytes", async () => {
  const [a, b] = [await sealAge([recipient], Buffer.from("x")), await sealAge([recipient], Buffer.from("x"))];
  expect(a.subarray(-17).equals(b.subarray(-17))).toBe(false);
});

describe("what was changed is refused:", () => {
  const plain = randomBytes(2 * CHUNK + 100);
  const refused = async (sealed: Buffer): Promise<void> => {
    await expect(openAge([identity], sealed)).rejects.toMatchObject({ code: "invalid" });
  };

  test("any byte", async () => {
    const sealed = await sealAge([recipient], plain);
    const header = sealed.indexOf("\n--- ");
    const places = [...Array(24).keys()].map(() => Math.floor(Math.random() * sealed.length));
    for (const place of [...places, 3, header + 10, header + 60, sealed.length - 1]) {
      const changed = Buffer.from(sealed);
      changed[place] = (changed[place] as number) ^ 1;
      // A changed stanza may be one for somebody else.
      const opened = await openAge([identity], changed).catch((error: unknown) => error);
      expect(opened === null || (opened as { code?: string }).code === "invalid", `byte ${place}`).toBe(true);
    }
  });

  test("cut off anywhere, also between chunks; longer", async () => {
    const sealed = await sealAge([recipient], plain);
    const last = sealed.length - (100 + 16);
    for (const length of [0, 5, 60, 200, last - CHUNK - 16, last, last + 16, sealed.length - 1]) {
      await refused(sealed.subarray(0, length));
    }
    await refused(Buffer.concat([sealed, Buffer.alloc(1)]));
    await refused(Buffer.concat([sealed, Buffer.alloc(16)]));
  });

  test("chunks in another order", async () => {
    const sealed = await sealAge([recipient], plain);
    const start = sealed.length - sealedLength(plain.length) + 16;
    const size = CHUNK + 16;
    const [one, two] = [sealed.subarray(start, start + size), sealed.subarray(start + size, start + 2 * size)];
    await refused(Buffer.concat([sealed.subarray(0, start), two, one, sealed.subarray(start + 2 * size)]));
  });

  test("a header with more recipients than are allowed, before a key is tried", async () => {
    const sealed = await sealAge([recipient, await recipientOf(await newIdentity())], plain);
    await expect(openAge([identity], sealed, 1)).rejects.toMatchObject({ message: /recipients/ });
    const stanza = `-> X25519 ${"A".repeat(43)}\n${"A".repeat(43)}\n`;
    await refused(
      Buffer.from(`age-encryption.org/v1\n${stanza.repeat(100_000)}--- ${"A".repeat(43)}\n${"x".repeat(40)}`),
    );
  });
});

test("of 64 MiB it is no longer than a pack may be", () => {
  expect(sealedLength(64 << 20) - (64 << 20) + 400).toBeLessThan(AGE_OVERHEAD);
});
