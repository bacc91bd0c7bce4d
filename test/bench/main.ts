import { writeFile } from "node:fs/promises";
import { Bench } from "./bench.ts";
import { engineSection } from "./engine/engine-section.ts";
import { forksSection } from "./engine/forks-section.ts";
import { historySection } from "./engine/history-section.ts";
import { figure } from "./figures.ts";
import { describeMachine } from "./machine.ts";
import { markdown } from "./markdown.ts";
import { type Options, readOptions, SECTIONS, type SectionName, USAGE } from "./options.ts";
import { progress } from "./progress.ts";
import { verdictOf } from "./report.ts";
import { chooseNatsServer } from "./tools/nats-server.ts";
import { agentsSection } from "./wire/agents-section.ts";
import { cloneSection } from "./wire/clone-section.ts";
import { deltasSection } from "./wire/deltas-section.ts";
import { memorySection } from "./wire/memory-section.ts";
import { readersSection } from "./wire/readers-section.ts";
import { startupSection } from "./wire/startup-section.ts";
import { transactionsSection } from "./wire/transactions-section.ts";
import { turnsSection } from "./wire/turns-section.ts";
import { vectorsSection } from "./wire/vectors-section.ts";
import { verifySection } from "./wire/verify-section.ts";
import { wireSection } from "./wire/wire-section.ts";

const DOCUMENT = new URL("../../docs/bench.md", import.meta.url);

const RUN: Readonly<Record<SectionName, (bench: Bench) => Promise<void>>> = {
  engine: engineSection,
  forks: forksSection,
  history: historySection,
  wire: wireSection,
  agents: agentsSection,
  readers: readersSection,
  transactions: transactionsSection,
  turns: turnsSection,
  vectors: vectorsSection,
  verify: verifySection,
  startup: startupSection,
  memory: memorySection,
  clone: cloneSection,
  deltas: deltasSection,
};

async function main(options: Options): Promise<number> {
  const args = process.argv.slice(2);
  const natsServer = await chooseNatsServer(progress);
  const command = ["npm run bench", ...(args.length > 0 ? ["--", ...args] : [])].join(" ");
  const machine = await describeMachine(command, natsServer);
  const bench = new Bench(options, natsServer);
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => void bench.end().finally(() => process.exit(130)));
  }
  const started = performance.now();
  const took: string[] = [];
  try {
    for (const name of SECTIONS.filter((section) => options.only.has(section))) {
      const began = performance.now();
      try {
        await RUN[name](bench);
      } catch (error) {
        bench.report.failures.push([name, error instanceof Error ? (error.stack ?? error.message) : String(error)]);
      }
      took.push(`${name} ${seconds(began)}`);
    }
  } finally {
    await bench.end();
  }
  progress(`done in ${seconds(started)}: ${took.join(", ")}`);
  process.stderr.write("\n");
  const { report } = bench;
  const text = markdown(report, { ...machine, took: `${seconds(started)}: ${took.join(", ")}` }, bench.sizes);
  if (options.json) {
    const ratios = report.ratios.map((ratio) => ({ ...ratio, verdict: verdictOf(ratio) }));
    const { tables, failures } = report;
    process.stdout.write(`${JSON.stringify({ machine, ratios, tables, failures }, null, 2)}\n`);
  } else {
    process.stdout.write(text);
  }
  if (options.write) await writeFile(DOCUMENT, text);
  for (const [section, why] of report.failures) process.stderr.write(`the section ${section} broke off: ${why}\n`);
  for (const ratio of report.ratios) {
    const verdict = verdictOf(ratio);
    if (verdict === "not measured") process.stderr.write(`not measured: ${ratio.what}: ${ratio.of}\n`);
    if (verdict === "broken") process.stderr.write(`must hold, and does not: ${ratio.what}: ${figure(ratio.value)}\n`);
  }
  return report.broken.length + report.failures.length === 0 ? 0 : 1;
}

function seconds(since: number): string {
  return `${figure((performance.now() - since) / 1000)} s`;
}

function parsed(): Options | null | undefined {
  try {
    return readOptions(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    return undefined;
  }
}

const options = parsed();
if (options === null) process.stdout.write(USAGE);
else process.exitCode = options === undefined ? 2 : await main(options);
