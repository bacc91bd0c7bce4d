import { randomBytes } from "node:crypto";
import { bucketUri } from "../../daemon/src/cli/bucket-uri.ts";
import { BUCKET_CHECKS } from "../../daemon/src/sync/buckets/conformance.ts";
import { readHfToken } from "../../daemon/src/sync/buckets/hf-token.ts";
import { parseHfUri } from "../../daemon/src/sync/buckets/hf-uri.ts";
import { openBucket } from "../../daemon/src/sync/buckets/open.ts";
import { asVlinderError } from "../../protocol/src/errors.ts";
import { facts } from "./facts.ts";
import { roundTrip } from "./round-trip.ts";

/*
 * `npm run hub-check -- OWNER/NAME`: what every kind of bucket must do, a sync between two machines, and what no document
 * says, on the real Hugging Face, or on what HF_ENDPOINT names. The bucket is made, private, when it is not there. All happens
 * in a folder of its own in it, which is deleted again. Exit code 1 when something does not hold.
 */
const [text] = process.argv.slice(2);
if (text === undefined) {
  process.stderr.write("usage: HF_TOKEN=hf_… npm run hub-check -- OWNER/NAME\n");
  process.exit(2);
}

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const folder = `hub-check-${new Date().toISOString().replaceAll(/[^0-9]/g, "")}-${randomBytes(3).toString("hex")}`;
let failed = 0;

async function check(name: string, run: () => Promise<void>): Promise<void> {
  const start = performance.now();
  try {
    await run();
    say(`ok    ${name}   ${Math.round(performance.now() - start)} ms`);
  } catch (error) {
    failed++;
    const { code, message, remedy } = asVlinderError(error);
    say(`FAIL  ${name}\n      ${code}: ${message}${remedy === undefined ? "" : `\n      ${remedy}`}`);
  }
}

async function clean(uri: string): Promise<void> {
  const bucket = await openBucket(uri);
  const paths: string[] = [];
  for await (const { path } of bucket.list("")) paths.push(path);
  await bucket.delete(paths);
  await bucket.close();
}

async function main(uri: string): Promise<void> {
  const { id, prefix } = parseHfUri(uri);
  const { from, token } = await readHfToken(process.env);
  const hubUrl = (process.env["HF_ENDPOINT"] || "https://huggingface.co").replace(/\/+$/, "");
  say(`${uri} at ${hubUrl}, with the token from ${from}; in the folder ${folder}`);
  await (await openBucket(uri, { create: true })).close();
  const below = `hf://buckets/${id}/${prefix}${folder}`;
  try {
    for (const [i, { name, run }] of BUCKET_CHECKS.entries()) {
      await check(name, async () => {
        const bucket = await openBucket(`${below}/${i}`);
        try {
          await run(bucket);
        } finally {
          await bucket.close();
        }
      });
    }
    await check("two machines write apart and come together", () => roundTrip(`${below}/sync`));
    const access = { repo: { type: "bucket", name: id }, accessToken: token, hubUrl } as const;
    await check("what no document says", async () => {
      for await (const { answer, question } of facts(access, `${prefix}${folder}/facts`))
        say(`      ${question}: ${answer}`);
    });
  } finally {
    await check("all of it is deleted again", () => clean(below));
  }
}

try {
  await main(bucketUri(text));
} catch (error) {
  failed++;
  const { message, remedy } = asVlinderError(error);
  say(`FAIL  ${message}\n      ${remedy ?? ""}`);
}
process.exitCode = failed === 0 ? 0 : 1;
