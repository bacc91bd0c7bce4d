import type { AgentName } from "@vlinder/protocol";
import type { Bench } from "../bench.ts";
import { figure } from "../figures.ts";
import { median } from "../measure.ts";
import { anyKey, Values } from "../values.ts";
import type { Daemon } from "./daemon.ts";

const CLIENTS = 64;
/** In all fewer than the reflog shows at once, so that it can't hide transactions. */
const PUTS = 15;
const MOST_MOVES = 1000;

/** How many of 64 clients' puts share a transaction. */
export async function transactionsSection(bench: Bench): Promise<void> {
  bench.progress("transactions: connecting 64 clients");
  const daemon = await bench.daemon();
  const agent = "shared";
  await daemon.register(agent);
  const clients = await daemon.connectMany(agent, CLIENTS);
  const values = new Values();
  const round = async (): Promise<{ transactions: number; seconds: number }> => {
    const before = await movesOf(daemon, agent);
    const started = performance.now();
    await Promise.all(
      clients.map(async ({ kv }) => {
        for (let i = 0; i < PUTS; i++) await kv.put(anyKey(1000), values.next());
      }),
    );
    const seconds = (performance.now() - started) / 1000;
    const after = await movesOf(daemon, agent);
    const known = after.findIndex((to) => to === before[0]);
    return { transactions: known === -1 ? after.length : known, seconds };
  };
  await round();
  const found = [];
  for (let i = 0; i < bench.rounds; i++) found.push(await round());
  const perTransaction = median(found.map(({ transactions }) => (CLIENTS * PUTS) / transactions));
  const moves = figure(median(found.map(({ transactions }) => transactions)));
  const of = `${CLIENTS * PUTS} commits in ${moves} moves of the branch`;
  bench.report.ratio("transactions", "puts/transaction", perTransaction, of);
  bench.report.table({
    section: "transactions",
    title: "64 clients, a connection each",
    columns: ["puts", "transactions (moves of the branch in the reflog)", "puts/s"],
    rows: found.map(({ transactions, seconds }) => [
      String(CLIENTS * PUTS),
      String(transactions),
      figure((CLIENTS * PUTS) / seconds),
    ]),
  });
}

/** Where the branch moved to, newest first: one entry a transaction. */
async function movesOf(daemon: Daemon, agent: string): Promise<(string | null)[]> {
  const { client } = await daemon.connect(agent);
  const { items } = await client.request(agent as AgentName, "timeline.reflog", { limit: MOST_MOVES });
  return items.map(({ to }) => to);
}
