import type { AgentName } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { HeldAnswers } from "../../src/providers/held-answers.ts";

const MIB = 1024 * 1024;
const [one, other, third] = ["one", "other", "third"] as [AgentName, AgentName, AgentName];
const refused = expect.objectContaining({ code: "unavailable" }) as unknown;

function codeOf(work: () => void): unknown {
  try {
    work();
    return null;
  } catch (error) {
    return error;
  }
}

test("an agent that holds all that one may leaves as much to others; what was given back can be taken again", () => {
  const held = new HeldAnswers();
  for (let n = 0; n < 4; n++) held.take(one, 32 * MIB);
  expect(codeOf(() => held.take(one, 1))).toEqual(refused);
  held.take(other, 128 * MIB);
  expect(codeOf(() => held.take(third, 1))).toEqual(refused);
  held.give(one, 32 * MIB);
  held.take(third, 16 * MIB);
  held.take(one, 16 * MIB);
  expect(codeOf(() => held.take(one, 1))).toEqual(refused);
  for (const [agent, mib] of [
    [one, 112],
    [other, 128],
    [third, 16],
  ] as const) {
    held.give(agent, mib * MIB);
  }
  held.take(one, 128 * MIB);
});
