/** `check`: types, lint with the import boundaries, format, dead code. All are run, whatever fails. */
import path from "node:path";
import { capture, root, say } from "./command.mjs";

const CHECKS = [
  ["types", "typescript", "bin/tsc", ["--noEmit", "-p", "."]],
  ["lint", "oxlint", "bin/oxlint", ["--type-aware"]],
  ["format", "oxfmt", "bin/oxfmt", ["--check"]],
  ["dead code", "knip", "bin/knip.js", []],
];

export function check(node, env) {
  const failed = CHECKS.filter(([name, folder, file, args]) => {
    const done = capture(node, [path.join(root, "node_modules", folder, file), ...args], { env });
    say(`${name}: ${done.code === 0 ? "ok" : `failed\n${done.output}\n`}`);
    return done.code !== 0;
  });
  return failed.length === 0 ? 0 : 1;
}
