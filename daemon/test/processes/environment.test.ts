import { expect, test } from "vitest";
import { agentEnvironment } from "../../src/processes/environment.ts";

const DAEMON = {
  PATH: "/usr/bin:/bin",
  HOME: "/home/ann",
  LANG: "de_DE.UTF-8",
  LC_ALL: "C",
  TZ: "UTC",
  TMPDIR: "/scratch",
  OPENAI_API_KEY: "secret",
  VLINDER_OPENAI_KEY: "secret",
  VLINDER_CREDS: "/home/ann/.vlinder/creds/admin.creds",
  VLINDER_HOME: "/home/ann/.vlinder",
  VLINDER_AGENT: "somebody",
  VLINDER_PROCESS: "another daemon's",
  NOTIFY_SOCKET: "/run/systemd/notify",
  NODE_OPTIONS: "--inspect",
  LD_PRELOAD: "/x.so",
  LC_SECRET_lower: "secret",
  HTTPS_PROXY: "http://user:secret@proxy",
};

test("only what is harmless is passed on, and what connect() reads is the agent's own", () => {
  const access = { url: "nats://127.0.0.1:4322", creds: "/creds/agents/todo.creds" };
  const env = agentEnvironment(DAEMON, { agent: "todo", access, mark: "m", node: "/opt/node/bin/node" });
  expect(env).toEqual({
    PATH: "/opt/node/bin:/usr/bin:/bin",
    HOME: "/home/ann",
    LANG: "de_DE.UTF-8",
    LC_ALL: "C",
    TZ: "UTC",
    TMPDIR: "/scratch",
    VLINDER_AGENT: "todo",
    VLINDER_URL: "nats://127.0.0.1:4322",
    VLINDER_CREDS: "/creds/agents/todo.creds",
    VLINDER_PROCESS: "m",
  });
});

test("without credentials none are passed, neither the daemon's nor those in a URL", () => {
  const access = { url: "tls://vlinderd:secret@nats.example:4222", creds: null };
  const env = agentEnvironment(DAEMON, { agent: "todo", access, mark: "m", node: "/opt/node/bin/node" });
  expect(env["VLINDER_URL"]).toBe("tls://nats.example:4222");
  expect(env).not.toHaveProperty("VLINDER_CREDS");
  expect(JSON.stringify(env)).not.toContain("secret");
});
