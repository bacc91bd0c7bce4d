import { VlinderError } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { createLog } from "../../src/observe/log.ts";

function lines(level = "info") {
  const all: string[] = [];
  return { log: createLog(level, { write: (line: string) => void all.push(line) }), all };
}

test("writes JSON lines from its level on, with errors whole", () => {
  const { log, all } = lines("warn");
  log.info("not this");
  log.error({ agent: "todo", err: new VlinderError("conflict", "taken", { remedy: "wait" }) }, "failed");
  expect(all).toHaveLength(1);
  expect(JSON.parse(all[0]!)).toMatchObject({
    level: 50,
    msg: "failed",
    agent: "todo",
    err: { code: "conflict", remedy: "wait", message: "taken" },
  });
});

test("holds back secrets, by name and by shape", () => {
  const { log, all } = lines();
  const seed = `SU${"A".repeat(56)}`;
  const jwt = `eyJ${"a".repeat(20)}.${"b".repeat(30)}.${"c".repeat(40)}`;
  log.info({ token: "geheim", headers: { authorization: "geheim" }, a: { b: { password: "geheim" } } }, "x");
  log.error(new Error(`can't reach postgres://ann:geheim@host/db with ${seed}`));
  log.info(`hf_geheimgeheimgeheimgeheim sk-geheimgeheimgeheim ${jwt} AGE-SECRET-KEY-1GEHEIM`);
  const text = all.join("");
  expect(text).not.toMatch(/geheim|GEHEIM/);
  expect(text).not.toContain(seed);
  expect(text).not.toContain(jwt);
  expect(text).toContain("postgres://ann:[secret]@host/db");
  for (const line of all) expect(() => JSON.parse(line)).not.toThrow();
});

test("leaves what only looks a little like a secret", () => {
  const { log, all } = lines();
  log.info({ url: "nats://127.0.0.1:4322", key: "/notes/a:b@c" }, "up");
  expect(JSON.parse(all[0]!)).toMatchObject({ url: "nats://127.0.0.1:4322", key: "/notes/a:b@c", msg: "up" });
});
