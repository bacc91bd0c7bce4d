import { credsAuthenticator, nkeys } from "nats";
import { expect, test } from "vitest";
import { authenticatorOf } from "../src/authenticator.ts";

function credsOf(claims: object): { creds: Buffer; publicKey: string } {
  const user = nkeys.createUser();
  const publicKey = user.getPublicKey();
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const token = `${part({ typ: "JWT" })}.${part({ sub: publicKey, ...claims })}.c2lnbmF0dXJl`;
  const seed = Buffer.from(user.getSeed()).toString();
  const creds = `-----BEGIN NATS USER JWT-----\n${token}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n${seed}\n------END USER NKEY SEED------\n`;
  return { creds: Buffer.from(creds), publicKey };
}

test("what it signs with is what the library signs with", () => {
  for (let i = 0; i < 20; i++) {
    const { creds, publicKey } = credsOf({});
    // Their base64 differs in its alphabet; the server takes both.
    const [own, library] = [authenticatorOf(creds), credsAuthenticator(creds)].map((one) => {
      const { sig, ...rest } = one(`nonce ${i}`) as { sig: string; jwt: string; nkey: string };
      return { sig: Buffer.from(sig, "base64").toString("hex"), ...rest };
    });
    expect(own).toEqual(library);
    expect(own?.nkey).toBe(publicKey);
  }
});

test("what is of another form goes to the library", () => {
  const { creds } = credsOf({ sub: 7 });
  expect(authenticatorOf(creds)("nonce")).toEqual(credsAuthenticator(creds)("nonce"));
  expect(() => authenticatorOf(Buffer.from("nothing"))("nonce")).toThrow("BAD_CREDS");
});
