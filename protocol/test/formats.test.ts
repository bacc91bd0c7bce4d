import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import {
  type AgentName,
  type BranchId,
  type Commit,
  type Contract,
  decodeChunkList,
  decodeCommit,
  decodeContract,
  decodeSnapshot,
  decodeTreeNode,
  decodeVectorRecord,
  EMPTY_SNAPSHOT,
  encodeChanges,
  encodeChunkList,
  encodeCommit,
  encodeContract,
  encodeSnapshot,
  encodeTreeNode,
  encodeVectorRecord,
  EVENT_KINDS,
  type Hash,
  hashCommit,
  hashSnapshot,
  isNewerFormat,
  type Key,
  parseAgentName,
  parseChanges,
  parseDeviceId,
  parseKey,
  sha256,
  type TreeNode,
  VlinderError,
} from "../src/index.ts";

/*
 * The formats are final: these bytes were written by hand from their description and hashed
 * with another program, and must never be changed to make a test pass. `sum` is independent of the code under test.
 */
const sum = (data: Uint8Array | string): string => createHash("sha256").update(data).digest("hex");
const [A, B, C] = ["a", "b", "c"].map((text) => sha256(text)) as [BranchId, BranchId, BranchId];
const key = (text: string): Key => parseKey(text);

describe("commit", () => {
  const first: Commit = {
    v: 1,
    agent: parseAgentName("todo"),
    parents: [],
    snapshot: hashSnapshot(EMPTY_SNAPSHOT),
    event: { kind: "init" },
  };
  const put: Commit = {
    v: 1,
    agent: parseAgentName("todo"),
    branch: A,
    parents: [B],
    snapshot: C,
    event: { kind: "kv.put" },
    changes: { kv: [[key("/todos.json"), A, 412]] },
    time: "2026-11-20T21:40:00.123Z",
    device: parseDeviceId("00112233445566778899aabbccddeeff"),
    session: "s-1",
    turn: "t-1",
  };
  const merge: Commit = {
    v: 1,
    agent: parseAgentName("todo"),
    branch: A,
    parents: [A, B],
    snapshot: C,
    event: { kind: "merge", info: { z: 1, ü: ["x"] }, values: { conflicts: [B, 7] } },
    changes: {
      kv: [
        [key("/a"), null, 0],
        [key("/ü"), B, 0],
      ],
      vectors: [[key("/v"), C, 9]],
      contract: A,
    },
    time: "2026-11-20T21:40:00.123Z",
  };

  test("golden bytes and hashes", () => {
    expect(encodeCommit(first)).toBe(
      `{"agent":"todo","event":{"kind":"init"},"parents":[],` +
        `"snapshot":"360caa70003338fd30255b7c43c96b08fa9276bf2dd24f3f4a6cea3345191822","v":1}`,
    );
    expect(encodeCommit(put)).toBe(
      `{"agent":"todo","branch":"${A}","changes":{"kv":[["/todos.json","${A}",412]]},` +
        `"device":"00112233445566778899aabbccddeeff","event":{"kind":"kv.put"},"parents":["${B}"],"session":"s-1",` +
        `"snapshot":"${C}","time":"2026-11-20T21:40:00.123Z","turn":"t-1","v":1}`,
    );
    expect(encodeCommit(merge)).toBe(
      `{"agent":"todo","branch":"${A}","changes":{"contract":"${A}","kv":[["/a",null,0],["/ü","${B}",0]],` +
        `"vectors":[["/v","${C}",9]]},"event":{"info":{"z":1,"ü":["x"]},"kind":"merge",` +
        `"values":{"conflicts":["${B}",7]}},"parents":["${A}","${B}"],"snapshot":"${C}",` +
        `"time":"2026-11-20T21:40:00.123Z","v":1}`,
    );
    expect([first, put, merge].map(hashCommit)).toEqual([
      "111bd0f5f3c6ac763d6a4078eb04f70a009dfc2d315430e973265029c8d23ca7",
      "2386f2bf7a4df7fb3f73dfb4f605914117186b65d57ea5364ada83e51c700cfe",
      "930d6a0c6d430e7dd0b9764b321ea87ddc483f3d0b8c8751ea8df28609fcdf3d",
    ]);
  });

  test("what was written is read", () => {
    const large: Commit = { ...put, changes: C };
    const { changes: _, ...rest } = put;
    const rewind: Commit = { ...rest, event: { kind: "rewind" }, adopts: B };
    for (const commit of [first, put, merge, large, rewind]) {
      expect(decodeCommit(Buffer.from(encodeCommit(commit)))).toEqual(commit);
      expect(hashCommit(commit)).toBe(sum(encodeCommit(commit)));
    }
    for (const kind of EVENT_KINDS) {
      expect(decodeCommit(Buffer.from(encodeCommit({ ...put, event: { kind } }))).event.kind).toBe(kind);
    }
  });

  const text = encodeCommit(put);
  test.each([
    ["another format", text.replace('"v":1', '"v":2')],
    ["no format", text.replace(',"v":1', "")],
    ["an unknown field", text.replace('"v":1', '"v":1,"x":1')],
    ["an unknown kind", text.replace("kv.put", "kv.frob")],
    ["no kind", text.replace('{"kind":"kv.put"}', "null")],
    ["an unknown field of the event", text.replace('{"kind"', '{"x":1,"kind"')],
    ["a parent that is no hash", text.replace(`["${B}"]`, '["x"]')],
    ["three parents", text.replace(`["${B}"]`, `["${A}","${B}","${C}"]`)],
    ["no parents, but a branch", text.replace(`["${B}"]`, "[]")],
    ["parents, but no branch", text.replace(`"branch":"${A}",`, "")],
    ["changes and adopts", text.replace("{", `{"adopts":"${A}",`)],
    ["an agent's name with a wildcard", text.replace("todo", "*")],
    ["a time without milliseconds", text.replace(".123Z", "Z")],
    ["a time that is none", text.replace("11-20T", "13-20T")],
    ["a device that is none", text.replace("0011", "00G1")],
    ["an empty session", text.replace("s-1", "")],
    ["a snapshot that is none", text.replace(`"snapshot":"${C}"`, '"snapshot":null')],
    ["a change without a size", text.replace(",412]", "]")],
    ["a negative size", text.replace("412", "-1")],
    ["a delete with a size", text.replace(`"${A}",412`, "null,412")],
    ["an empty list of changes", text.replace(/\[\["\/todos.*?\]\]/, "[]")],
    ["a null where nothing should be", text.replace('"s-1"', "null")],
    ["no object", "[]"],
    ["no JSON", "{"],
  ])("refused: %s", (_what, bytes) => {
    expect(bytes).not.toBe(text);
    expect(() => decodeCommit(Buffer.from(bytes))).toThrow(VlinderError);
  });
});

describe("change list", () => {
  test("golden bytes", () => {
    const changes = {
      kv: [
        [key("/\uffff"), A, 1],
        [key("/😀"), null, 0],
      ] as const,
      vectors: [[key("v"), B, 2]] as const,
    };
    const text = `{"kv":[["/\uffff","${A}",1],["/😀",null,0]],"vectors":[["v","${B}",2]]}`;
    expect(encodeChanges(changes)).toBe(text);
    expect(parseChanges(JSON.parse(text))).toEqual(changes);
    expect(sum(text)).toBe("44e202f1af3d9f66c316e9862542399daae28ec36a01219fc842ba815a255ec4");
    expect(encodeChanges({})).toBe("{}");
  });

  test.each([
    [
      "keys out of order",
      {
        kv: [
          ["/b", A, 1],
          ["/a", A, 1],
        ],
      },
    ],
    [
      "keys in JavaScript's order",
      {
        kv: [
          ["/😀", A, 1],
          ["/\uffff", A, 1],
        ],
      },
    ],
    [
      "a key twice",
      {
        kv: [
          ["/a", A, 1],
          ["/a", A, 1],
        ],
      },
    ],
    ["a key that is none", { kv: [["", A, 1]] }],
    ["an unknown space", { blobs: [] }],
    ["a list", []],
    ["null", null],
    ["a contract that is no hash", { contract: "x" }],
  ])("refused: %s", (_what, value) => expect(() => parseChanges(value)).toThrow(VlinderError));
});

describe("snapshot", () => {
  test("golden bytes and hashes", () => {
    expect(encodeSnapshot({ contract: A, kv: B, vectors: null })).toBe(
      `{"contract":"${A}","kv":"${B}","vectors":null}`,
    );
    expect(hashSnapshot({ contract: A, kv: B, vectors: null })).toBe(
      "f015fd2a6e7d779aad8fe60a1f426c8fb8338d9d833003a67c3bd95e77419d11",
    );
    expect(hashSnapshot(EMPTY_SNAPSHOT)).toBe("360caa70003338fd30255b7c43c96b08fa9276bf2dd24f3f4a6cea3345191822");
  });

  test("what was written is read, and nothing else", () => {
    for (const snapshot of [EMPTY_SNAPSHOT, { contract: A, kv: B, vectors: C }]) {
      expect(decodeSnapshot(Buffer.from(encodeSnapshot(snapshot)))).toEqual(snapshot);
    }
    const text = encodeSnapshot(EMPTY_SNAPSHOT);
    const others = [
      ` ${text}`,
      text.replace("null", '"x"'),
      text.replace("kv", "kw"),
      '{"kv":null}',
      "null",
      "[]",
      "1",
    ];
    const swapped = '{"kv":null,"contract":null,"vectors":null}';
    for (const other of [...others, swapped, text.replace("}", ',"w":1}')]) {
      expect(() => decodeSnapshot(Buffer.from(other)), other).toThrow(VlinderError);
    }
  });
});

describe("tree node", () => {
  const leaf: TreeNode = {
    version: 1,
    level: 0,
    keys: [key("/a"), key("/ab"), key("/b")],
    hashes: [A, B, C],
    sizes: [0, 300, 5],
    counts: [],
  };
  const inner: TreeNode = {
    version: 1,
    level: 1,
    keys: [key("/m"), key("/z")],
    hashes: [A, B],
    sizes: [2 ** 40, 1],
    counts: [200, 1],
  };

  test("golden bytes and hashes", () => {
    expect(encodeTreeNode(leaf).toString("hex")).toBe(`010003` + `00022f61${A}00` + `020162${B}ac02` + `010162${C}05`);
    expect(encodeTreeNode(inner).toString("hex")).toBe(`010102` + `00022f6d${A}808080808020c801` + `01017a${B}0101`);
    expect([leaf, inner].map((node) => sum(encodeTreeNode(node)))).toEqual([
      "90936138514d59653696ebfac542b25ff24651cf118f74df94f0f855a56fac9b",
      "f6d3f53c70570743a24055d471dc051416d3d0e847d1f852ea4683fbabc41338",
    ]);
    for (const node of [leaf, inner]) {
      const [old, now] = [encodeTreeNode(node), encodeTreeNode({ ...node, version: 2 })];
      expect(now[0]).toBe(2);
      expect(now.subarray(1)).toEqual(old.subarray(1));
    }
  });

  test("what was written is read", () => {
    for (const version of [1, 2] as const) {
      for (const node of [leaf, inner].map((one) => ({ ...one, version }))) {
        expect(decodeTreeNode(encodeTreeNode(node))).toEqual(node);
      }
    }
  });

  test.each([
    ["another format", `030001` + `000161${A}00`],
    ["no entries", "010000"],
    ["a level over 40", `012901` + `000161${A}0001`],
    ["an empty key", `010001` + `0000${A}00`],
    ["keys out of order", `010002` + `000162${A}00` + `000161${A}00`],
    ["a key twice", `010002` + `000161${A}00` + `0100${A}00`],
    ["a shorter prefix than it could be", `010002` + `00022f61${A}00` + `00022f62${A}00`],
    ["a longer prefix than there is", `010001` + `010161${A}00`],
    ["a number in a longer form", `010001` + `000161${A}8000`],
    ["a count in a longer form", `01008100` + `000161${A}00`],
    ["more entries than there are", `010002` + `000161${A}00`],
    ["fewer entries than there are", `010001` + `000161${A}00` + `000162${A}00`],
    ["a key with NUL", `010001` + `00026100${A}00`],
    ["a key that is not UTF-8", `010001` + `0001ff${A}00`],
    ["a cut-off hash", `010001` + `000161${A.slice(2)}`],
    ["nothing", ""],
  ])("refused: %s", (_what, hex) => expect(() => decodeTreeNode(Buffer.from(hex, "hex"))).toThrow(VlinderError));
});

describe("chunk list", () => {
  test("golden bytes and hash", () => {
    const bytes = encodeChunkList({
      level: 1,
      parts: [
        { hash: A, size: 65_536 },
        { hash: B, size: 1 },
      ],
    });
    expect(bytes.toString("hex")).toBe(
      "01010000" + "02000000" + "0100010000000000" + `${A}0000010000000000` + `${B}0100000000000000`,
    );
    expect(sum(bytes)).toBe("e2b1b13f966784f2b8c002e3b84df5a99d1456f0b1152e1b2e0f66c3cf1dd06a");
  });

  const good = "01010000" + "01000000" + "0500000000000000" + `${A}0500000000000000`;
  test("what was written is read", () => {
    expect(decodeChunkList(Buffer.from(good, "hex"))).toEqual({ level: 1, parts: [{ hash: A, size: 5 }] });
    const list = { level: 8, parts: Array.from({ length: 1024 }, () => ({ hash: A, size: 2 ** 31 })) };
    expect(decodeChunkList(encodeChunkList(list))).toEqual(list);
  });

  test.each([
    ["another format", `02${good.slice(2)}`],
    ["level 0", good.replace("0101", "0100")],
    ["level 9", good.replace("0101", "0109")],
    ["padding that is not zero", good.replace("01010000", "01010001")],
    ["a total that is not the sum", good.replace("0500000000000000", "0600000000000000")],
    ["no parts", "01010000" + "00000000" + "0000000000000000"],
    ["bytes behind the end", `${good}00`],
    ["a part of no bytes", "01010000" + "01000000" + "0000000000000000" + `${A}0000000000000000`],
    ["a size over 53 bits", "01010000" + "01000000" + "0000000000002000" + `${A}0000000000002000`],
    ["a number of parts that lies", good.replace("01000000", "ffffffff")],
    ["nothing", ""],
  ])("refused: %s", (_what, hex) => expect(() => decodeChunkList(Buffer.from(hex, "hex"))).toThrow(VlinderError));
});

describe("vector record", () => {
  const record = { vector: Float32Array.of(1, -0.5), model: "m-ü", metadata: { b: 1, a: "é" } };
  const bytes = encodeVectorRecord(record);

  test("golden bytes and hash", () => {
    const metadata = Buffer.from('{"a":"é","b":1}').toString("hex");
    expect(bytes.toString("hex")).toBe(
      "0100" + "0200" + "0400" + "0000" + "10000000" + "0000803f000000bf" + "6d2dc3bc" + metadata,
    );
    expect(sum(bytes)).toBe("055ea32bc844ce988ab3ef10b5f6d8ccae28ed6ff52e020a65fa776334304be7");
  });

  test("what was written is read", () => {
    expect(decodeVectorRecord(bytes)).toEqual(record);
    const bare = { vector: new Float32Array(4096), model: "", metadata: {} };
    expect(decodeVectorRecord(encodeVectorRecord(bare))).toEqual(bare);
  });

  test("limits hold while writing", () => {
    const code = (change: Partial<typeof record>): unknown => {
      try {
        return encodeVectorRecord({ ...record, ...change });
      } catch (error) {
        return (error as VlinderError).code;
      }
    };
    expect(code({ vector: new Float32Array() })).toBe("invalid");
    expect(code({ vector: new Float32Array(4097) })).toBe("invalid");
    expect(code({ vector: Float32Array.of(Number.NaN) })).toBe("invalid");
    expect(code({ model: "x".repeat(201) })).toBe("invalid");
    expect(code({ model: "\ud800" })).toBe("invalid");
    expect(code({ metadata: { a: "x".repeat(16 * 1024), b: 1 } })).toBe("too_large");
    expect(code({ metadata: { a: "\ud800", b: 1 } })).toBe("invalid");
  });

  const hex = bytes.toString("hex");
  test.each([
    ["another format", `02${hex.slice(2)}`],
    ["padding that is not zero", `0101${hex.slice(4)}`],
    ["dimension 0", "0100" + "0000" + "0000" + "0000" + "02000000" + "7b7d"],
    ["NaN", "0100" + "0100" + "0000" + "0000" + "02000000" + "0000c07f" + "7b7d"],
    ["metadata with a space", "0100" + "0100" + "0000" + "0000" + "03000000" + "00000000" + "7b207d"],
    ["metadata that is a list", "0100" + "0100" + "0000" + "0000" + "02000000" + "00000000" + "5b5d"],
    ["a model that is not UTF-8", "0100" + "0100" + "0100" + "0000" + "02000000" + "00000000" + "ff" + "7b7d"],
    ["a length that lies", `${hex}00`],
    ["nothing", ""],
  ])("refused: %s", (_what, other) =>
    expect(() => decodeVectorRecord(Buffer.from(other, "hex"))).toThrow(VlinderError),
  );
});

describe("contract", () => {
  const contract: Contract = {
    v: 1,
    name: parseAgentName("librarian"),
    merge: { rules: 1, policies: { "/notes/": "newest", "": "keep-both" } },
    retention: { states: "90d" },
    vectors: { metric: "cosine", dimension: 384 },
  };
  const text =
    '{"merge":{"policies":{"":"keep-both","/notes/":"newest"},"rules":1},"name":"librarian",' +
    '"retention":{"states":"90d"},"v":1,"vectors":{"dimension":384,"metric":"cosine"}}';

  test("golden bytes and hash", () => {
    expect(encodeContract(contract).toString()).toBe(text);
    expect(sum(text)).toBe("bae9c705759b979cefc93488891f30b9e61f4fc0225ab9a458f6e69bc18dcb08");
    expect(decodeContract(Buffer.from(text))).toEqual(contract);
  });

  test.each([
    ["another format", text.replace('"v":1', '"v":2')],
    ["an unknown field", text.replace('"v":1', '"v":1,"w":1')],
    ["a wildcard as name", text.replace("librarian", "*")],
    ["no merge", text.replace(/"merge":.*?"rules":1\},/, "")],
    ["a policy that is no text", text.replace('"newest"', "1")],
    ["policies as a list", text.replace(/\{"":.*?\}/, "[]")],
    ["an unknown metric", text.replace("cosine", "manhattan")],
    ["dimension 0", text.replace("384", "0")],
    ["retention as text", text.replace('{"states":"90d"}', '"90d"')],
    ["members in another order", text.replace('"v":1,', "").replace("{", '{"v":1,')],
    ["a list", "[]"],
  ])("refused: %s", (_what, other) => {
    expect(other).not.toBe(text);
    expect(() => decodeContract(Buffer.from(other))).toThrow(VlinderError);
  });
});

describe("of a newer release", () => {
  const flip = (bytes: Uint8Array, version = 2): Buffer => {
    const copy = Buffer.from(bytes);
    copy[0] = version;
    return copy;
  };
  const contract: Contract = { v: 1, name: "todo" as AgentName, merge: { rules: 1, policies: {} } };
  const zero = "00".repeat(32) as Hash;
  test.each<[what: string, decode: () => unknown, version?: number]>([
    ["a tree node", () => decodeTreeNode(flip(Buffer.from("010001", "hex"), 3)), 3],
    ["a chunk list", () => decodeChunkList(flip(encodeChunkList({ level: 1, parts: [{ hash: zero, size: 1 }] })))],
    [
      "a vector record",
      () => decodeVectorRecord(flip(encodeVectorRecord({ vector: Float32Array.of(1), model: "", metadata: {} }))),
    ],
    ["a contract", () => decodeContract(encodeContract({ ...contract, later: true, v: 2 } as never))],
    ["a commit", () => decodeCommit(Buffer.from('{"agent":"todo","later":true,"v":2}'))],
  ])("%s is refused as such, with what to do", (what, decode, version = 2) => {
    const error = thrownBy(decode);
    expect(error).toMatchObject({
      code: "invalid",
      message: `${what} of format ${version}; this release knows ${version - 1}`,
      remedy: expect.stringContaining("update"),
      details: { version },
    });
    expect(isNewerFormat(error)).toBe(true);
  });
});

function thrownBy(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return null;
}
