import { expect, test } from "vitest";
import {
  ADMIN_OPERATIONS,
  adminRequests,
  adminSubject,
  AGENT_OPERATIONS,
  agentOfSubject,
  agentRequests,
  agentSubject,
  agentSubjectPattern,
  asVlinderError,
  ERROR_CODES,
  eventSubject,
  inboxPrefix,
  isAllowedReply,
  parseAgentName,
  VlinderError,
} from "../src/index.ts";

const todo = parseAgentName("todo");

test("subjects name the agent and the operation", () => {
  expect(agentSubject(todo, "kv.put")).toBe("vlinder.v1.todo.kv.put");
  expect(agentSubjectPattern("kv.put")).toBe("vlinder.v1.*.kv.put");
  expect(adminSubject("agents.list")).toBe("vlinder.admin.v1.agents.list");
  expect(eventSubject(todo, "commit")).toBe("vlinder.v1.todo.events.commit");
  expect(inboxPrefix(todo)).toBe("_INBOX.todo");
  expect(agentOfSubject("vlinder.v1.todo.kv.put")).toBe("todo");
});

test.each([
  "vlinder.v1.*.kv.put",
  "vlinder.v1.>.kv.put",
  "vlinder.v1..kv.put",
  "vlinder.v1.admin.kv.put",
  "vlinder.v1.TODO.kv.put",
  "vlinder.v1.todo",
  "vlinder.v2.todo.kv.put",
  "other.v1.todo.kv.put",
  "vlinder.admin.v1.agents.list",
  "",
])("%j names no agent", (subject) => expect(() => agentOfSubject(subject)).toThrow(VlinderError));

test("every operation has one schema, and the other way round", () => {
  expect(Object.keys(agentRequests).toSorted()).toEqual([...AGENT_OPERATIONS].toSorted());
  expect(Object.keys(adminRequests).toSorted()).toEqual([...ADMIN_OPERATIONS].toSorted());
});

test.each([
  ["_INBOX.todo.abc.1", true],
  ["_INBOX.admin.abc", true],
  ["_INBOX.other.abc", false],
  ["_INBOX.todo", false],
  ["_INBOX.todos.abc", false],
  ["_INBOX.abc.1", false],
  ["_INBOX.todo.*", false],
  ["_INBOX.todo.>", false],
  ["_INBOX.admin.x y", false],
  ["vlinder.v1.other.kv.put", false],
  ["$SYS.REQ.ACCOUNT.PING", false],
  ["", false],
])("a reply to %j for the agent todo: %s", (reply, allowed) => expect(isAllowedReply(reply, todo)).toBe(allowed));

test("what an administrator asked is answered to an administrator", () => {
  expect(isAllowedReply("_INBOX.admin.abc", null)).toBe(true);
  expect(isAllowedReply("_INBOX.todo.abc", null)).toBe(false);
  expect(isAllowedReply("_INBOX.null.abc", null)).toBe(false);
});

test("an error is the same after its way over the wire", () => {
  const error = new VlinderError("conflict", "m", { remedy: "r", details: { key: "/a" } });
  const again = VlinderError.fromBody(JSON.parse(JSON.stringify(error.toBody())));
  expect(again).toMatchObject({
    code: "conflict",
    message: "m",
    remedy: "r",
    details: { key: "/a" },
    retryable: false,
  });
  expect(asVlinderError(new TypeError("oops"))).toMatchObject({ code: "internal", message: "oops" });
  for (const code of ERROR_CODES) {
    expect(new VlinderError(code, "m").retryable).toBe(code === "unavailable" || code === "timeout");
  }
});
