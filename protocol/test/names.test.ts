import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  isHash,
  keyBytes,
  keyFromBytes,
  keyText,
  parseAgentName,
  parseBranchName,
  parseDeviceId,
  parseHash,
  parseKey,
  parseKeyPrefix,
  sha256,
  sha256Of,
  VlinderError,
} from "../src/index.ts";

const text = fc.string({ unit: "binary", minLength: 1, maxLength: 100 }).filter((key) => !key.includes("\0"));

describe("keys", () => {
  test("a key comes back as text and as bytes", () => {
    fc.assert(
      fc.property(text, (key) => {
        expect(keyText(parseKey(key))).toBe(key);
        expect(keyBytes(parseKey(key))).toEqual(Buffer.from(key, "utf8"));
        expect(keyFromBytes(Buffer.from(key, "utf8"))).toBe(parseKey(key));
      }),
    );
  });

  test("their order is the order of UTF-8 bytes, which is not JavaScript's", () => {
    fc.assert(
      fc.property(text, text, (a, b) => {
        const bytes = Buffer.compare(Buffer.from(a, "utf8"), Buffer.from(b, "utf8"));
        expect(parseKey(a) < parseKey(b)).toBe(bytes < 0);
      }),
    );
    const two = ["\uffff", "😀"];
    expect(two.toSorted()).toEqual(["😀", "\uffff"]);
    expect(two.map(parseKey).toSorted().map(keyText)).toEqual(two);
  });

  test.each(["", "a\0", "ü\0", "\ud800", "a\udc00b", "a".repeat(1025), "ü".repeat(513)])("%j is refused", (key) => {
    expect(() => parseKey(key)).toThrow(VlinderError);
  });

  test("a prefix may be empty, and a key 1,024 bytes long", () => {
    expect(parseKeyPrefix("")).toBe("");
    expect(parseKey("ü".repeat(512)).length).toBe(1024);
  });

  test("bytes that are no key are null", () => {
    for (const hex of ["", "00", "c3bc00", "ff", "eda080", "61".repeat(1025)]) {
      expect(keyFromBytes(Buffer.from(hex, "hex"))).toBeNull();
    }
  });
});

describe("names", () => {
  const refused = [
    "",
    "*",
    ">",
    "a.b",
    "a b",
    "A",
    "ä",
    "a/b",
    "..",
    "a\n",
    "x".repeat(65),
    "admin",
    7,
    null,
    undefined,
  ];
  test.each(refused)("%j is no agent's name", (name) => {
    expect(() => parseAgentName(name)).toThrow(VlinderError);
  });
  test("agents' names", () => {
    for (const name of ["a", "todo-2", "x".repeat(64), "administrator"]) expect(parseAgentName(name)).toBe(name);
  });

  test.each(["", "-a", "/a", ".a", "a b", "a\n", "ä", "x".repeat(101), sha256("x"), 7])("%j is no branch", (name) => {
    expect(() => parseBranchName(name)).toThrow(VlinderError);
  });
  test("branches' names", () => {
    for (const name of ["main", "turn/t-1", "broken-2026-11-20", "v1.2_x"]) expect(parseBranchName(name)).toBe(name);
  });

  test("device ids are 32 hex digits", () => {
    expect(parseDeviceId("0".repeat(32))).toBe("0".repeat(32));
    for (const id of ["", "0".repeat(31), "G".repeat(32), "A".repeat(32)]) {
      expect(() => parseDeviceId(id)).toThrow(VlinderError);
    }
  });
});

describe("hashes", () => {
  test("are SHA-256 as sha256sum prints it", () => {
    expect(sha256("abc")).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect(sha256(new Uint8Array())).toBe("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect(sha256Of(["a", Buffer.from("bc")])).toBe(sha256("abc"));
  });
  test("are 64 lower-case hex digits", () => {
    expect(isHash(sha256("x"))).toBe(true);
    for (const bad of [sha256("x").toUpperCase(), sha256("x").slice(1), `${sha256("x")}\n`, "", 1, null]) {
      expect(isHash(bad)).toBe(false);
      expect(() => parseHash(bad)).toThrow(VlinderError);
    }
  });
});
