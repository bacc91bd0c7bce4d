/** A real S3 server for the tests: OpenStack Swift with its S3 API, from Debian, without root. */
import { existsSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import { unpackDebian } from "./apt.mjs";
import { capture, say, ScriptError, tools } from "./command.mjs";

const FOLDER = path.join(tools, "swift");

/** What Swift's four servers import. 5 MB; Python itself is the machine's, of the same release. */
const PACKAGES = [
  "python3-swift",
  "python3-eventlet",
  "python3-greenlet",
  "python3-dnspython",
  "python3-six",
  "python3-netifaces",
  "python3-xattr",
  "python3-cffi-backend",
  "python3-cffi",
  "python3-lxml",
  "python3-cryptography",
  "python3-paste",
  "python3-pastedeploy",
  "python3-pastedeploy-tpl",
  "python3-pkg-resources",
  "python3-pyeclib",
  "python3-requests",
  "python3-urllib3",
  "python3-certifi",
  "python3-idna",
  "python3-chardet",
  "python3-charset-normalizer",
  "python3-pycparser",
  "python3-ply",
  "liberasurecode1",
];

/**
 * Fetches the server where it is not there yet. On a system that has no apt the tests of it are left out, and say so:
 * the double of an S3 service is tested everywhere.
 */
export function ensureS3Server() {
  if (existsSync(FOLDER)) return;
  if (process.platform !== "linux" || capture("apt-get", ["--version"]) === null) {
    say("no apt-get here: the tests against a real S3 server are left out");
    return;
  }
  say("no S3 server here: fetching OpenStack Swift");
  const part = `${FOLDER}.part`;
  rmSync(part, { recursive: true, force: true });
  const problem = unpackDebian(PACKAGES, part);
  if (problem !== null) throw new ScriptError(`no S3 server could be had: ${problem}`);
  renameSync(part, FOLDER);
}
