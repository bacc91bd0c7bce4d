import { expect, test } from "vitest";
import { Backoff } from "../../src/processes/backoff.ts";

test("half a second, doubled to a minute, and anew after a run that went well", () => {
  const backoff = new Backoff();
  const delays = Array.from({ length: 10 }, () => backoff.after(100));
  expect(delays).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
  expect(backoff.after(59_999)).toBe(60_000);
  expect([backoff.after(60_000), backoff.after(0)]).toEqual([500, 1000]);
  backoff.reset();
  expect(backoff.after(0)).toBe(500);
});
