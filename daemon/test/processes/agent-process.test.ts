import { VlinderError } from "@vlinder/protocol";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { AgentProcess } from "../../src/processes/agent-process.ts";
import type { Exit, Run } from "../../src/processes/run.ts";

const SIGTERM: Exit = { code: null, signal: "SIGTERM" };

/** Processes that end when the test says so. */
class Starts {
  readonly at: number[] = [];
  readonly notes: string[] = [];
  /** Thrown by the next starts. */
  failure: VlinderError | null = null;
  #exit: (exit: Exit) => void = () => {};

  readonly launch = async (): Promise<Run> => {
    this.at.push(Date.now());
    if (this.failure !== null) throw this.failure;
    let exit: (exit: Exit) => void = () => {};
    const over = new Promise<Exit>((resolve) => {
      exit = resolve;
    });
    this.#exit = exit;
    const end = async (): Promise<void> => exit(SIGTERM);
    return { pid: this.at.length, over, end, abandon: () => exit(SIGTERM) };
  };

  readonly note = async (text: string): Promise<void> => void this.notes.push(text);

  async exits(code: number): Promise<void> {
    this.#exit({ code, signal: null });
    await vi.advanceTimersByTimeAsync(0);
  }
}

let starts: Starts;
let agent: AgentProcess;
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date", "performance"] });
  starts = new Starts();
  agent = new AgentProcess(starts);
  await vi.advanceTimersByTimeAsync(0);
});
afterEach(async () => {
  await agent.stop();
  vi.useRealTimers();
});

const passes = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);

test("each time that it ends soon it waits twice as long, until it has run well", async () => {
  for (const delay of [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]) {
    const count = starts.at.length;
    await starts.exits(1);
    expect(agent.report).toMatchObject({ state: "waiting", pid: null, lastExit: { code: 1, signal: null } });
    expect(Date.parse(agent.report.next ?? "") - Date.now()).toBe(delay);
    await passes(delay - 1);
    expect(starts.at.length).toBe(count);
    await passes(1);
    expect(agent.report).toMatchObject({ state: "running", pid: count + 1, restarts: count, next: null });
  }
  await passes(60_000);
  await starts.exits(0);
  expect(starts.notes.at(-1)).toBe("exited with code 0, though an agent is meant to stay; started again in 0.5 s");
});

test("who needs it now need not wait, and it is started once", async () => {
  for (const _ of [1, 2, 3]) {
    await starts.exits(1);
    await passes(5000);
  }
  await starts.exits(1);
  const count = starts.at.length;
  expect(await Promise.all([agent.ready(), agent.ready(), agent.ready()])).toEqual([true, true, true]);
  expect(await agent.ready()).toBe(true);
  expect(starts.at.length).toBe(count + 1);
  // It did not become patient because of that, and does not skip its next wait.
  await starts.exits(1);
  expect(Date.parse(agent.report.next ?? "") - Date.now()).toBe(8000);
  await passes(7999);
  expect(starts.at.length).toBe(count + 1);
});

test("one that can't be started says why, and is tried again", async () => {
  starts.failure = new VlinderError("not_found", "there is no program x", { remedy: "install x" });
  await starts.exits(1);
  expect(await agent.ready()).toBe(false);
  expect(agent.report).toMatchObject({
    state: "failed",
    error: { code: "not_found", details: { remedy: "install x" } },
  });
  expect(starts.notes.at(-1)).toBe(
    "could not be started: there is no program x; what to do: install x; started again in 1 s",
  );
  await agent.restart();
  expect(agent.report.state).toBe("failed");
  starts.failure = null;
  await passes(500);
  expect(agent.report).toMatchObject({ state: "running", error: null });
});

test("a restart ends it and starts it at once, and its delays begin anew", async () => {
  for (const delay of [500, 1000, 2000]) {
    await starts.exits(1);
    await passes(delay);
  }
  const before = agent.report;
  await agent.restart();
  expect(agent.report).toMatchObject({
    state: "running",
    restarts: before.restarts + 1,
    lastExit: { signal: "SIGTERM" },
  });
  expect(agent.report.pid).not.toBe(before.pid);
  expect(starts.notes.slice(-2)).toEqual([`stopped, ended by SIGTERM`, `started, pid ${agent.report.pid}`]);
  await starts.exits(1);
  expect(starts.notes.at(-1)).toContain("started again in 0.5 s");
});

test("stop ends what runs, what waits and what is about to start; nothing is started after it", async () => {
  await agent.stop();
  expect(agent.report).toMatchObject({ state: "stopped", pid: null });
  expect(await agent.ready()).toBe(false);
  await agent.restart();
  await passes(120_000);
  expect(starts.at.length).toBe(1);

  const waiting = new AgentProcess(starts);
  await passes(0);
  await starts.exits(1);
  await waiting.stop();
  const starting = new AgentProcess(starts);
  await starting.stop();
  await passes(120_000);
  expect(starts.at.length).toBe(3);
  expect(starting.report).toMatchObject({ state: "stopped", lastExit: { signal: "SIGTERM" } });
});
