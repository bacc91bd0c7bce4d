import { writeFile } from "node:fs/promises";
import { Bench } from "./bench.ts";
import { engineSection } from "./engine/engine-section.ts";
import { describeMachine } from "./machine.ts";
import { markdown } from "./markdown.ts";
import { type Options, readOptions, type SectionName, USAGE } from "./options.ts";
import { figure, megabytes } from "./report.ts";
import { readersSection } from "./wire/readers-section.ts";
import { transactionsSection } from "./wire/transactions-section.ts";
import { vectorsSection } from "./wire/vectors-section.ts";
import { verifySection } from "./wire/verify-section.ts";
import { wireSection } from "./wire/wire-section.ts";

const DOCUMENT = new URL("../../docs/bench.md", import.meta.url);

const RUN: Readonly<Record<SectionName, (bench: Bench) => Promise<void>>> = {
  engine: engineSection,
  wire: wireSection,
  readers: readersSection,
  transactions: transactionsSection,
  vectors: vectorsSection,
  verify: verifySection,
};

function memoryTable(bench: Bench, section: SectionName): void {
  if (!bench.memory.some(([, bytes]) => bytes !== null)) return;
  bench.report.table({
    section,
    title: "Memory of the daemon, resident",
    columns: bench.memory.map(([when]) => when),
    rows: [bench.memory.map(([, bytes]) => (bytes === null ? "–" : megabytes(bytes)))],
    notes: ["One daemon serves all sections, one after another; its nats-server is not counted."],
  });
}

async function main(options: Options): Promise<number> {
  const args = process.argv.slice(2);
  const machine = await describeMachine(["npm run bench", ...(args.length > 0 ? ["--", ...args] : [])].join(" "));
  const bench = new Bench(options);
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => void bench.end().finally(() => process.exit(130)));
  }
  const started = performance.now();
  try {
    const sections = [...options.only];
    for (const name of sections) {
      await RUN[name](bench);
      await bench.noteMemory(name);
    }
    memoryTable(bench, sections.at(-1) as SectionName);
  } finally {
    await bench.end();
  }
  bench.progress(`done in ${figure((performance.now() - started) / 1000)} s`);
  process.stderr.write("\n");
  const { report } = bench;
  const text = markdown(report, machine);
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ machine, ratios: report.ratios, tables: report.tables }, null, 2)}\n`);
  } else {
    process.stdout.write(text);
  }
  if (options.write) await writeFile(DOCUMENT, text);
  for (const { what, value } of report.broken)
    process.stderr.write(`must hold, and does not: ${what}: ${figure(value)}\n`);
  return report.broken.length === 0 ? 0 : 1;
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
