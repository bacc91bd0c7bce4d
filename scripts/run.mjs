#!/usr/bin/env node
/**
 * The one way in from a fresh clone: `node scripts/run.mjs <command>`. It sees to a Node, the
 * packages and a nats-server, then runs the command. Starts on Node 18.
 */
import path from "node:path";
import { build } from "./build.mjs";
import { withBuiltDaemon } from "./built-daemon.mjs";
import { check } from "./check.mjs";
import { root, run, say, ScriptError } from "./command.mjs";
import { ensureNatsServer } from "./nats-server.mjs";
import { ensureNode, withNode } from "./node.mjs";
import { ensurePackages } from "./packages.mjs";
import { ensureS3Server } from "./s3-server.mjs";
import { test } from "./test.mjs";

const script =
  (file, ...flags) =>
  (node, env, args) =>
    run(node, [...flags, path.join(root, file), ...args], env);

/** What is measured is what is installed. */
const bench = (node, env, args) =>
  withBuiltDaemon(node, env, `vlinder-bench-${process.pid}`, (built) =>
    script("test/bench/main.ts")(node, built, args),
  );

/** With what the first line of the program says. */
const vlinderd = (node, env, args) =>
  script("daemon/bin/vlinderd.mjs", "--max-semi-space-size=16")(node, { ...env, MALLOC_ARENA_MAX: "1" }, args);

const COMMANDS = {
  quickstart: { broker: true, run: script("scripts/quickstart.ts") },
  test: { broker: true, s3: true, run: test },
  bench: { broker: true, s3: true, run: bench },
  soak: { broker: true, run: script("test/soak/main.ts") },
  "hub-check": { broker: false, run: script("test/hub-check/main.ts") },
  vlinderd: { broker: true, run: vlinderd },
  check: { broker: false, run: check },
  format: { broker: false, run: script("node_modules/oxfmt/bin/oxfmt") },
  build: { broker: false, run: build },
};

async function main([name, ...args]) {
  const command = Object.hasOwn(COMMANDS, name ?? "") ? COMMANDS[name] : undefined;
  if (command === undefined) {
    say(`usage: node scripts/run.mjs <${Object.keys(COMMANDS).join("|")}>`);
    return 2;
  }
  const node = ensureNode();
  const env = withNode(node);
  ensurePackages(env, node);
  if (command.broker) ensureNatsServer();
  if (command.s3) ensureS3Server();
  return command.run(node, env, args);
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof ScriptError)) throw error;
  say(`vlinder: ${error.message}`);
  process.exitCode = 1;
}
