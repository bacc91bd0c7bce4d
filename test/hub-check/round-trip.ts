import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { AgentName, DeviceId } from "@vlinder/protocol";
import { Sync } from "../../daemon/src/sync/sync.ts";
import { ModelExchange } from "../../daemon/test/sync/model-exchange.ts";

const AGENT = "todo" as AgentName;
const silent = { info: (): void => undefined, warn: (): void => undefined };

interface Machine {
  readonly sync: Sync;
  readonly agents: Map<AgentName, ModelExchange>;
}

/** Two machines, homes of their own, one memory in this bucket: both write apart, and come together. */
export async function roundTrip(uri: string): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), "vlinder-hub-check-"));
  const machines: Machine[] = [];
  try {
    for (const name of ["one", "two"]) machines.push(await machine(path.join(folder, name)));
    const [one, two] = machines as [Machine, Machine];
    for (const { sync } of machines) await sync.init(uri);
    one.agents.set(AGENT, new ModelExchange(AGENT, one.sync.device));
    agent(one).put("/large", randomBytes(3 << 20));
    agent(one).put("/from-one", "1");
    await pushAndPull(one);
    await pushAndPull(two);
    agent(one).put("/from-one", "2");
    agent(two).put("/from-two", "2");
    for (const each of [one, two, one]) await pushAndPull(each);
    assert.deepEqual(agent(two).contents(), agent(one).contents());
    assert.deepEqual(Object.keys(agent(two).contents()), ["/from-one", "/from-two", "/large"]);
  } finally {
    for (const { sync } of machines) await sync.close();
    await rm(folder, { recursive: true, force: true });
  }
}

function agent({ agents }: Machine): ModelExchange {
  const exchange = agents.get(AGENT);
  assert.ok(exchange !== undefined, "the agent did not come");
  return exchange;
}

async function pushAndPull({ sync }: Machine): Promise<void> {
  for (const { agents } of [await sync.pull(), await sync.push()]) {
    for (const { error } of agents) assert.equal(error, null);
  }
}

async function machine(home: string): Promise<Machine> {
  await mkdir(home);
  const device = randomBytes(16).toString("hex") as DeviceId;
  const agents = new Map<AgentName, ModelExchange>();
  const sync = await Sync.open({
    home,
    device,
    newDeviceId: async () => device,
    agents: {
      list: async () => [...agents].map(([name, exchange]) => ({ name, exchange })),
      adopt: async (name) => {
        const exchange = new ModelExchange(name, device);
        agents.set(name, exchange);
        return exchange;
      },
      isRemoved: () => false,
    },
    log: silent,
  });
  return { sync, agents };
}
