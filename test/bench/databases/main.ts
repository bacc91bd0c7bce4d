import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { measureWholeFilePushes } from "./whole-file-push.ts";

/*
 * `node test/bench/databases/main.ts [MB]`: the table of docs/sync-databases.md, for a database of so many MB (100). The 1 MB is 1,000
 * rows; the client compresses, which noise does not show.
 */
const megabytes = Number(process.argv[2] ?? 100);
const folder = await mkdtemp(join(tmpdir(), "vlinder-bench-"));
try {
  const pushes = await measureWholeFilePushes({
    folder,
    bytes: megabytes * 1e6,
    changes: [
      { bytes: 1000, where: "together" },
      { bytes: 1_000_000, where: "together" },
      { bytes: 1_000_000, where: "scattered" },
    ],
  });
  const lines = pushes.map(({ changed, where, remembers, milliseconds, routes }) => {
    const up = (name: string): string => (routes.find(({ route }) => route === name)?.up ?? 0).toLocaleString("en");
    const requests = routes.find(({ route }) => route === "total")?.requests ?? 0;
    const what = changed === null ? "the first" : `${changed / 1000} kB, ${where ?? ""}`;
    const cells = [what, remembers ? "with" : "without", up("POST xorbs"), up("POST shards"), up("total"), requests];
    return `| ${[...cells, `${(milliseconds / 1000).toFixed(1)} s`].join(" | ")} |`;
  });
  const head = "| changed | memory | xorbs | shards | all, up | requests | time |\n|---|---|---|---|---|---|---|";
  process.stdout.write(`A database of ${megabytes} MB:\n\n${head}\n${lines.join("\n")}\n`);
} finally {
  await rm(folder, { recursive: true, force: true });
}
