import { setImmediate as nextTurn } from "node:timers/promises";
import { beforeEach, expect, test } from "vitest";
import { Outbox } from "../../src/endpoints/outbox.ts";

let outbox: Outbox;
let sent: string[];
/** How often something was sent: what goes out in one go is one. */
let goes: number;

beforeEach(() => {
  outbox = new Outbox();
  sent = [];
  goes = 0;
});

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

test("a flush sends all of it at once, and nothing twice", async () => {
  outbox.tell(send("news"));
  outbox.answer(send("answer"));
  outbox.flush();
  expect(sent).toEqual(["answer", "news"]);
  for (let turn = 0; turn < 5; turn++) await nextTurn();
  expect(sent).toEqual(["answer", "news", "|"]);
  expect(goes).toBe(1);
});
