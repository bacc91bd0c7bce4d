import type { Define } from "../catalogue.ts";
import type { Finding } from "../doctor/check.ts";
import { remedyLines } from "../failure.ts";
import type { Block, Outcome } from "../outcome.ts";
import { dim, green, red, yellow } from "../render/color.ts";
import { tableLines } from "../render/table.ts";
import type { Text } from "../render/text.ts";

export const defineDoctor: Define = (command, act) => {
  command.action(
    act(async (context): Promise<Outcome> => {
      const { homePath } = await import("../../registry/home.ts");
      const machine = await import("../doctor/machine.ts");
      const daemon = await import("../doctor/daemon.ts");
      const { env } = context.terminal;
      const home = homePath(env);
      const { finding: configured, config } = await machine.checkConfig(home, env);
      const { finding: running, status } = await daemon.checkDaemon(context);
      const findings = [
        machine.checkNode(),
        await machine.checkServerProgram(config, env),
        await machine.checkHome(home),
        configured,
        running,
        ...daemon.checkAgents(status),
        ...(await daemon.checkBucket(status)),
      ];
      const failed = findings.some(({ result }) => result === "failed");
      return { json: { ok: !failed, checks: findings }, failed, people: () => findingBlocks(findings) };
    }),
  );
};

const MARKS: Readonly<Record<Finding["result"], Text>> = {
  ok: green("ok"),
  warning: yellow("warning"),
  failed: red("failed"),
  skipped: dim("skipped"),
};

/** Each remedy stands under its finding. */
function findingBlocks(findings: readonly Finding[]): Block[] {
  const rows = findings.map(({ check, result, detail }) => [MARKS[result], check, detail]);
  const lines = tableLines({ columns: [{}, {}, {}], rows });
  return findings.flatMap(({ remedy }, index): Block[] => [
    lines[index] ?? "",
    ...(remedy === null ? [] : remedyLines(remedy)),
  ]);
}
