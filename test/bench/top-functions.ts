import { readFile } from "node:fs/promises";

/** Where the time of a `.cpuprofile` went: the functions with most time of their own. */
interface Profile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const [file, count = "20"] = process.argv.slice(2);
if (file === undefined) {
  process.stderr.write("usage: node test/bench/top-functions.ts FILE.cpuprofile [COUNT]\n");
  process.exitCode = 2;
} else {
  const { nodes, samples, timeDeltas } = JSON.parse(await readFile(file, "utf8")) as Profile;
  const names = new Map(
    nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => {
      const place = url === "" ? "" : ` ${url.split("/").slice(-3).join("/")}:${lineNumber + 1}`;
      return [id, `${functionName || "(anonymous)"}${place}`];
    }),
  );
  const times = new Map<string, number>();
  let busy = 0;
  let all = 0;
  for (const [i, id] of samples.entries()) {
    const time = timeDeltas[i] ?? 0;
    const name = names.get(id) ?? "?";
    all += time;
    if (name === "(idle)") continue;
    busy += time;
    times.set(name, (times.get(name) ?? 0) + time);
  }
  process.stdout.write(`busy ${(busy / 1e6).toFixed(2)} s of ${(all / 1e6).toFixed(2)} s\n`);
  const top = [...times].toSorted((a, b) => b[1] - a[1]).slice(0, Number(count));
  for (const [name, time] of top) process.stdout.write(`${((100 * time) / busy).toFixed(1).padStart(5)} %  ${name}\n`);
}
