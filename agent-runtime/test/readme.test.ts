import { afterAll, beforeAll, expect, test } from "vitest";
import { readmeExamples, runExample } from "./readme-examples.ts";
import { Stage } from "./support.ts";

const examples = await readmeExamples();
let stage: Stage;
beforeAll(async () => {
  stage = await Stage.open();
});
afterAll(() => stage[Symbol.asyncDispose]());

test("there are examples, and all but a few print something", () => {
  expect(examples.length).toBeGreaterThan(7);
  expect(examples.every(({ output }) => output.length > 0)).toBe(true);
});

test.each(examples)("$title prints what it says", async (example) => {
  expect(await runExample(example, { VLINDER_URL: stage.server.url, VLINDER_CREDS: "" })).toEqual(example.output);
});
