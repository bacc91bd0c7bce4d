import { parseArgs } from "node:util";
import { Stage } from "../harness/stage.ts";
import { runLarge } from "../harness/large-values.ts";
import { growTranscript } from "../harness/transcript.ts";
import { pushLarge } from "./push-large.ts";
import { SyncSoak } from "./sync/sync-soak.ts";

/*
 * What takes too long for `npm test`: a gigabyte through the real daemon, a transcript of 20 MB that grows 500
 * times, a large value on its way to a bucket and out of it, and machines that write and sync without end. Says what it measured; exit
 * code 1 when a bound does not hold. `npm run soak`, or some of it: `npm run soak -- gigabyte`,
 * `npm run soak -- sync --minutes 60 [--machines N] [--bucket hub]`.
 */

const { values, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: "string", default: "5" },
    machines: { type: "string", default: "3" },
    bucket: { type: "string", default: "folder" },
  },
});

const MIB = 1024 * 1024;
const MOST_MEMORY = 150 * MIB;
let failed = false;

function say(what: string, numbers: string, holds: boolean): void {
  failed ||= !holds;
  process.stdout.write(`${holds ? "ok  " : "FAIL"}  ${what.padEnd(44)} ${numbers}\n`);
}

const mib = (bytes: number): string => `${Math.round(bytes / MIB)} MiB`;

const SECTIONS: Readonly<Record<string, (stage: Stage) => Promise<void>>> = {
  gigabyte: async (stage) => {
    const daemon = await stage.daemon();
    await stage.register(daemon, "todo");
    let hash = "";
    for (const mode of ["put", "get"] as const) {
      const run = await runLarge(daemon, mode, "todo", "/big", 1024 * MIB);
      const same = run.size === 1024 * MIB && (mode === "put" || run.hash === hash);
      hash = run.hash;
      const memory = `above idle: daemon ${mib(run.daemonMemory)}, client ${mib(run.clientMemory)}`;
      const bounded = run.daemonMemory < MOST_MEMORY && run.clientMemory < MOST_MEMORY;
      say(`${mode} 1 GiB`, `${mib(run.size / run.seconds)}/s   ${memory}`, same && bounded);
    }
  },
  transcript: async (stage) => {
    const daemon = await stage.daemon();
    const grown = await growTranscript(stage, daemon, { bytes: 20_000_000, turns: 500, step: 4096 });
    const numbers = `${grown.ratio.toFixed(2)} times its size on disk   ${Math.round(grown.milliseconds)} ms a put`;
    say("20 MB that grow by 4 KB, 500 times", numbers, grown.ratio <= 3 && grown.wrong.length === 0);
  },
  push: async (stage) => {
    const { seconds, memory, same } = await pushLarge(stage, 100 * MIB);
    const numbers = `${seconds.toFixed(1)} s   daemon ${mib(memory)} above idle`;
    say("push 100 MiB, clone on another machine, read", numbers, same && memory < 2 * MOST_MEMORY);
  },
  sync: async (stage) => {
    const [minutes, machines] = [Number(values.minutes), Number(values.machines)];
    const bucket = values.bucket === "hub" ? "hub" : "folder";
    await new SyncSoak(stage, { minutes, machines, bucket }, say).run();
  },
};

const stage = new Stage();
try {
  await stage.guard();
  for (const [name, run] of Object.entries(SECTIONS))
    if (wanted.length === 0 || wanted.includes(name)) await run(stage);
} finally {
  await stage.close();
}
process.exitCode = failed ? 1 : 0;
