import { fromPublic, fromSeed } from "@nats-io/nkeys";
import { expect, test } from "vitest";
import { newAccount, newOperator, newUser, pairFromSeed, userAuthenticator } from "../../src/broker/key-pair.ts";

test("a pair has the public key that NATS' library computes, and signs what that verifies", () => {
  for (const [make, letter] of [
    [newOperator, "O"],
    [newAccount, "A"],
    [newUser, "U"],
  ] as const) {
    const pair = make();
    const library = fromSeed(pair.getSeed());
    expect(pair.getPublicKey()).toBe(library.getPublicKey());
    expect(pair.getPublicKey()[0]).toBe(letter);
    expect(Buffer.from(pair.getPrivateKey())).toEqual(Buffer.from(library.getPrivateKey()));
    const text = Buffer.from("what is signed");
    const signature = pair.sign(text);
    expect(Buffer.from(signature)).toEqual(Buffer.from(library.sign(text)));
    expect(fromPublic(pair.getPublicKey()).verify(Buffer.from("something else"), signature)).toBe(false);
    expect(pairFromSeed(Buffer.from(pair.getSeed()).toString()).getPublicKey()).toBe(pair.getPublicKey());
  }
  expect(() => pairFromSeed("SUnothing")).toThrow();
});

test("who connects signs the server's nonce", () => {
  const user = newUser();
  const { jwt, nkey, sig } = userAuthenticator("the JWT", user)("a nonce") as unknown as Record<string, string>;
  expect([jwt, nkey]).toEqual(["the JWT", user.getPublicKey()]);
  const signature = Buffer.from(sig as string, "base64url");
  expect(fromPublic(user.getPublicKey()).verify(Buffer.from("a nonce"), signature)).toBe(true);
});
