import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { S3Double } from "../../../test/harness/s3/s3-double.ts";
import type { Bucket } from "../../src/sync/buckets/bucket.ts";
import type { HttpLimits } from "../../src/sync/buckets/http-limits.ts";
import { S3Knowledge } from "../../src/sync/buckets/s3-knowledge.ts";
import { openS3Bucket, type S3BucketOptions } from "../../src/sync/buckets/s3.ts";

export const KEYS = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" };
/** Tries follow each other at once, and silence is not waited for. */
export const QUICK: Partial<HttpLimits> = { pause: 1, reply: 2000, idle: 2000 };

interface Login {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

/** Puts the keys where the SDK looks first, and nothing of this machine's own. */
export function logIn({ accessKeyId, secretAccessKey, sessionToken }: Login): void {
  setEnv({
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken,
    ...NO_FILES,
  });
}

const NO_FILES = {
  AWS_PROFILE: undefined,
  AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
  AWS_CONFIG_FILE: "/dev/null",
  AWS_EC2_METADATA_DISABLED: "true",
};

/** A profile in a credentials file of the test's own; what it returns writes other keys into it. */
export function logInByProfile(profile: string, login: Login): (login: Login) => void {
  const folder = mkdtempSync(join(tmpdir(), "vlinder-aws-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "credentials");
  const write = ({ accessKeyId, secretAccessKey, sessionToken }: Login): void => {
    const token = sessionToken === undefined ? "" : `aws_session_token = ${sessionToken}\n`;
    writeFileSync(
      file,
      `[${profile}]\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}\n${token}`,
    );
  };
  write(login);
  setEnv({
    ...NO_FILES,
    AWS_ACCESS_KEY_ID: undefined,
    AWS_SECRET_ACCESS_KEY: undefined,
    AWS_SESSION_TOKEN: undefined,
    AWS_PROFILE: profile,
    AWS_SHARED_CREDENTIALS_FILE: file,
  });
  return write;
}

export function logOut(): void {
  setEnv({ ...NO_FILES, AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined, AWS_SESSION_TOKEN: undefined });
}

function setEnv(values: Readonly<Record<string, string | undefined>>): void {
  for (const [name, value] of Object.entries(values)) {
    const before = process.env[name];
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
    onTestFinished(() => {
      if (before === undefined) delete process.env[name];
      else process.env[name] = before;
    });
  }
}

/** A double, with the settings, that ends with the test. */
export async function startDouble(settings: Partial<S3Double> = {}): Promise<S3Double> {
  const double = await S3Double.start(KEYS);
  onTestFinished(() => double.stop());
  return Object.assign(double, settings);
}

/** A bucket there, made, of somebody who is logged in. */
export async function bucketOn(
  double: S3Double,
  path = "vault",
  options: S3BucketOptions = { create: true },
): Promise<Bucket> {
  logIn(KEYS);
  return openBucketOf(double, path, options);
}

/** Of each double its own: another one may come to have the port of one that has ended. */
const KNOWLEDGE = new WeakMap<S3Double, S3Knowledge>();

export async function openBucketOf(double: S3Double, path: string, options: S3BucketOptions = {}): Promise<Bucket> {
  const knowledge = KNOWLEDGE.get(double) ?? new S3Knowledge();
  KNOWLEDGE.set(double, knowledge);
  const bucket = await openS3Bucket(uriOn(double.endpoint, path), { limits: QUICK, knowledge, ...options });
  onTestFinished(() => bucket.close());
  return bucket;
}

export function uriOn(endpoint: string, path: string): string {
  return `s3://${path}?endpoint=${encodeURIComponent(endpoint)}`;
}

export async function pathsIn(bucket: Bucket, prefix = ""): Promise<string[]> {
  const paths: string[] = [];
  for await (const { path } of bucket.list(prefix)) paths.push(path);
  return paths.toSorted();
}
