import { fileURLToPath } from "node:url";
import type { Client } from "@vlinder/agent-runtime";
import type { AgentName, BranchItem, SyncStatusReply } from "@vlinder/protocol";
import { freePort } from "../../harness/processes.ts";
import type { Stage } from "../../harness/stage.ts";
import type { TestDaemon } from "../../harness/test-daemon.ts";

const PROGRAM = fileURLToPath(new URL("./vlinderd.ts", import.meta.url));
export const AGENTS = ["notes", "facts"] as AgentName[];
export const PATIENT = { timeout: 300_000 };

export interface MachineOptions {
  readonly uri: string;
  /** Milliseconds. */
  readonly grace: number;
  readonly environment: Readonly<Record<string, string>>;
}

/** A daemon with a home of its own that pushes and pulls by itself, and its administrator. */
export class Machine {
  readonly index: number;
  readonly daemon: TestDaemon;
  readonly admin: Client;
  kills = 0;

  private constructor(index: number, daemon: TestDaemon, admin: Client) {
    this.index = index;
    this.daemon = daemon;
    this.admin = admin;
  }

  static async start(stage: Stage, index: number, { uri, grace, environment }: MachineOptions): Promise<Machine> {
    const daemon = await stage.newDaemon("", PROGRAM);
    const config = '[sync]\nwhen = "turn"\nquiet = "1s"\npush_distance = "200ms"\n[log]\nlevel = "info"\n';
    // One port over all starts: so the clients come back by themselves.
    await daemon.configure(config, await freePort());
    Object.assign(daemon.environment, environment, { SOAK_GRACE: String(grace) });
    await daemon.start();
    const admin = await stage.client({ home: daemon.home, retries: 30 });
    const machine = new Machine(index, daemon, admin);
    await admin.admin("sync.init", { uri });
    for (const agent of AGENTS) await stage.register(daemon, agent, 'object_storage = "sqlite://objects.db"\n');
    return machine;
  }

  status(): Promise<SyncStatusReply> {
    return this.admin.admin("sync.status", {}, PATIENT);
  }

  /** All branches of an agent, in the order of their ids. */
  async branches(agent: AgentName): Promise<BranchItem[]> {
    const items: BranchItem[] = [];
    let after: string | undefined;
    do {
      const page = await this.admin.request(agent, "timeline.branches", after === undefined ? {} : { after }, PATIENT);
      items.push(...page.items);
      after = page.next ?? undefined;
    } while (after !== undefined);
    return items.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  }
}
