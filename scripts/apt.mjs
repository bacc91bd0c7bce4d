/** Debian packages without root: fetched, and unpacked into a folder of ours. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { capture, say } from "./command.mjs";

/**
 * `apt-get download` and `dpkg-deb -x`: no root, and nothing of the system is changed. When the machine's package lists do
 * not know a package (a fresh container has none), lists of our own are fetched into a temporary folder, which needs
 * no root either. Returns what went wrong, or null.
 */
export function unpackDebian(packages, target) {
  const folder = mkdtempSync(path.join(os.tmpdir(), "vlinder-apt-"));
  try {
    const options = [];
    let done = capture("apt-get", ["download", ...packages], { cwd: folder });
    if (done === null) return "there is no apt-get";
    if (done.code !== 0) {
      say(`the package lists do not know ${packages[0]}: fetching them (apt-get update, into a temporary folder)`);
      mkdirSync(path.join(folder, "lists", "partial"), { recursive: true });
      mkdirSync(path.join(folder, "cache", "archives", "partial"), { recursive: true });
      options.push("-o", `Dir::State::lists=${folder}/lists`, "-o", `Dir::Cache=${folder}/cache`);
      if (process.getuid?.() === 0) options.push("-o", "APT::Sandbox::User=root");
      const update = capture("apt-get", [...options, "update"], { cwd: folder });
      done = capture("apt-get", [...options, "download", ...packages], { cwd: folder });
      if (done.code !== 0) return `apt-get: ${update.code === 0 ? done.output : update.output}`;
    }
    const debs = readdirSync(folder).filter((name) => name.endsWith(".deb"));
    if (debs.length < packages.length) return "apt-get download left too few packages";
    mkdirSync(target, { recursive: true });
    for (const deb of debs) {
      const unpacked = capture("dpkg-deb", ["-x", path.join(folder, deb), target]);
      if (unpacked === null) return "there is no dpkg-deb";
      if (unpacked.code !== 0) return `dpkg-deb: ${unpacked.output}`;
    }
    return null;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
