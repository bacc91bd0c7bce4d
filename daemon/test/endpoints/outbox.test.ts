import { setImmediate as nextTurn } from "node:timers/promises";
import pino from "pino";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Outbox } from "../../src/endpoints/outbox.ts";

let outbox: Outbox;
/** Until it has what was sent. */
let server: PromiseWithResolvers<void>;
let sent: string[];
let warnings: string[];
/** How often something was sent: what goes out in one go is one. */
let goes: number;

beforeEach(() => {
  server = Promise.withResolvers();
  outbox = new Outbox(
    { flush: () => server.promise },
    pino({ level: "warn" }, { write: (line) => void warnings.push(line) }),
  );
  server.resolve();
  sent = [];
  warnings = [];
  goes = 0;
});

afterEach(() => void vi.useRealTimers());

function send(what: string): () => void {
  return () => {
    if (sent.push(what) === 1 || sent.at(-2) === "|") goes++;
    // As the connection writes: behind the work at hand.
    queueMicrotask(() => {
      if (sent.at(-1) !== "|") sent.push("|");
    });
  };
}

test("answers of a turn of the event loop go out in one go and in order, and news in another behind them, whatever came first", async () => {
  outbox.tell(send("news 1"));
  outbox.answer(send("answer 1"));
  await Promise.resolve();
  outbox.tell(send("news 2"));
  outbox.answer(send("answer 2"));
  expect(sent).toEqual([]);
  await nextTurn();
  expect(sent).toEqual(["answer 1", "answer 2", "|"]);
  outbox.answer(send("answer 3"));
  await nextTurn();
  await nextTurn();
  expect(sent.filter((what) => what !== "|")).toEqual(["answer 1", "answer 2", "news 1", "news 2", "answer 3"]);
  outbox.tell(send("news 3"));
  await nextTurn();
  await nextTurn();
  expect(sent.slice(-2)).toEqual(["news 3", "|"]);
});

test("what is told or answered while something goes out is not lost", async () => {
  outbox.answer(() => outbox.answer(send("answer")));
  outbox.tell(() => outbox.tell(send("news")));
  for (let turn = 0; turn < 5; turn++) await nextTurn();
  expect(sent).toEqual(["answer", "|", "news", "|"]);
});

test("news that come while others wait for their turn go out behind the answers of their own", async () => {
  outbox.tell(send("news 1"));
  await nextTurn();
  // The first are about to go out.
  outbox.tell(send("news 2"));
  outbox.answer(send("answer 2"));
  for (let turn = 0; turn < 3; turn++) await nextTurn();
  expect(sent.filter((what) => what !== "|")).toEqual(["news 1", "answer 2", "news 2"]);
});

test("a flush sends all of it at once, and nothing twice", async () => {
  outbox.tell(send("old news"));
  await nextTurn();
  outbox.tell(send("news"));
  outbox.answer(send("answer"));
  await outbox.flush(1000);
  expect(sent).toEqual(["answer", "old news", "news", "|"]);
  for (let turn = 0; turn < 5; turn++) await nextTurn();
  expect(sent).toEqual(["answer", "old news", "news", "|"]);
  expect(goes).toBe(1);
});

test("it waits until the server has it, unless the server is gone", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout"] });
  server = Promise.withResolvers();
  let isSent = false;
  void outbox.flush(1000).then(() => {
    isSent = true;
  });
  await vi.advanceTimersByTimeAsync(999);
  expect(isSent).toBe(false);
  server.resolve();
  await nextTurn();
  expect(isSent).toBe(true);
  expect(warnings).toEqual([]);

  server = Promise.withResolvers();
  const gone = outbox.flush(1000);
  await vi.advanceTimersByTimeAsync(1000);
  await gone;
  expect(warnings).toEqual([expect.stringContaining("some may be lost")]);
});
