import { once } from "node:events";
import { chmod, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import path from "node:path";
import { type AgentName, parseAgentName } from "@vlinder/protocol";
import { ErrorCode, Events, type NatsConnection } from "nats";
import { describe, expect, it, onTestFinished } from "vitest";
import { startBroker } from "../../src/broker/broker.ts";
import { newBroker, newClient, newHome, options, reaches } from "./harness.ts";

const ann = parseAgentName("ann");
const bob = parseAgentName("bob");

describe("the own nats-server", () => {
  it("starts, serves, stops, and starts again with the same credentials", async () => {
    const home = await newHome();
    const first = await startBroker(options(home));
    expect(first.own).toBe(true);
    expect(first.serverVersion).toMatch(/^\d+\.\d+\.\d+/);
    const creds = await first.agentCreds(ann);
    await first.stop();
    await first.stop();
    await expect(newClient(first.url, creds)).rejects.toThrow(/CONNECTION_REFUSED/);

    const second = await newBroker(home);
    const before = await readFile(creds);
    expect(await second.agentCreds(ann)).toBe(creds);
    expect(await readFile(creds)).toEqual(before);
    await newClient(second.url, creds);
  });

  it("takes the port that was asked for, and another one when somebody has that", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const address = taken.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;

    const elsewhere = await startBroker(options(await newHome(), { port }));
    onTestFinished(() => elsewhere.stop());
    expect(elsewhere.url).not.toContain(`:${port}`);
    await newClient(elsewhere.url, elsewhere.adminCreds);

    taken.close();
    await once(taken, "close");
    const there = await startBroker(options(await newHome(), { port }));
    onTestFinished(() => there.stop());
    expect(there.url).toBe(`nats://127.0.0.1:${port}`);
  });

  it("lets nobody in without credentials, or with another home's", async () => {
    const broker = await newBroker(await newHome());
    const other = await newBroker(await newHome());
    const refused = expect.objectContaining({ code: ErrorCode.AuthorizationViolation });
    await expect(newClient(broker.url, null)).rejects.toThrow(refused);
    await expect(newClient(broker.url, other.adminCreds)).rejects.toThrow(refused);
  });

  it("listens on the loopback interface only", async () => {
    const home = await newHome();
    await newBroker(home);
    expect(await readFile(path.join(home, "nats", "server.conf"), "utf8")).toContain("host: 127.0.0.1\n");
  });

  it("keeps secrets to its owner: files 0600, folders 0700", async () => {
    const home = await newHome();
    const broker = await newBroker(home);
    const creds = await broker.agentCreds(ann);
    const mode = async (file: string) => ((await stat(path.resolve(home, file))).mode & 0o777).toString(8);
    for (const file of [creds, broker.adminCreds, "nats/users.json", "nats/server.conf", "nats/keys/operator.nk"]) {
      expect([file, await mode(file)]).toEqual([file, "600"]);
    }
    for (const folder of ["nats", "nats/keys", "creds", "creds/agents"]) {
      expect([folder, await mode(folder)]).toEqual([folder, "700"]);
    }
    await chmod(creds, 0o644);
    await broker.agentCreds(ann);
    expect(await mode(creds)).toBe("600");
  });

  it.runIf(process.platform === "linux")("gives the server none of this process's secrets", async () => {
    process.env.HF_TOKEN = "hf_secret";
    onTestFinished(() => void delete process.env.HF_TOKEN);
    const broker = await newBroker(await newHome());
    const environment = await readFile(`/proc/${broker.serverPid}/environ`, "utf8");
    expect(environment).toContain("PATH=");
    expect(environment).not.toContain("hf_secret");
  });

  it("is started again on the same port when it is killed, and clients are back by themselves", async () => {
    const home = await newHome();
    const broker = await newBroker(home);
    const client = await newClient(broker.url, await broker.agentCreds(ann), "_INBOX.ann");
    for (let time = 0; time < 2; time++) {
      const pid = broker.serverPid;
      if (pid === null) throw new Error("no server");
      const back = Promise.all([reconnected(client), reconnected(broker.connection)]);
      process.kill(pid, "SIGKILL");
      await back;
      expect(broker.serverPid).not.toBe(pid);
    }
    expect(await reaches(broker.connection, "vlinder.v1.ann.invoke", client, "vlinder.v1.ann.invoke")).toBe(true);
  });

  it("says where it looked and how to install it when there is none", async () => {
    const env = process.env.VLINDER_NATS_SERVER;
    process.env.VLINDER_NATS_SERVER = "/nowhere/nats-server";
    onTestFinished(() => {
      if (env === undefined) delete process.env.VLINDER_NATS_SERVER;
      else process.env.VLINDER_NATS_SERVER = env;
    });
    await expect(startBroker(options(await newHome()))).rejects.toThrow(
      expect.objectContaining({ code: "unavailable", message: expect.stringContaining("/nowhere/nats-server") }),
    );
  });
});

describe("credentials", () => {
  it("are refused after they were revoked, on open connections and new ones; nobody else is disturbed", async () => {
    const broker = await newBroker(await newHome());
    const creds = await broker.agentCreds(ann);
    const kept = `${creds}.kept`;
    await writeFile(kept, await readFile(creds));
    const client = await newClient(broker.url, creds, "_INBOX.ann");
    const bystander = await newClient(broker.url, await broker.agentCreds(bob), "_INBOX.bob");
    const events: string[] = [];
    for (const one of [bystander, broker.connection]) void record(one, events);

    await broker.revokeAgent(ann);
    await client.closed();
    await expect(newClient(broker.url, kept)).rejects.toThrow(
      expect.objectContaining({ code: ErrorCode.AuthorizationViolation }),
    );
    await expect(stat(creds)).rejects.toThrow(/ENOENT/);
    expect(await reaches(broker.connection, "vlinder.v1.bob.invoke", bystander, "vlinder.v1.bob.invoke")).toBe(true);
    expect(events).toEqual([]);

    await newClient(broker.url, await broker.agentCreds(ann));
    await expect(newClient(broker.url, kept)).rejects.toThrow();
  });

  it("stay revoked after a restart", async () => {
    const home = await newHome();
    const first = await startBroker(options(home));
    const creds = await first.agentCreds(ann);
    const kept = path.join(home, "kept.creds");
    await writeFile(kept, await readFile(creds));
    await first.revokeAgent(ann);
    await first.stop();
    const second = await newBroker(home);
    await expect(newClient(second.url, kept)).rejects.toThrow();
    await newClient(second.url, second.adminCreds);
  });

  it("are made anew when the keys were lost or the file is damaged", async () => {
    const home = await newHome();
    const first = await startBroker(options(home));
    const creds = await first.agentCreds(ann);
    await writeFile(creds, "not credentials");
    await first.agentCreds(ann);
    await newClient(first.url, creds);
    await first.stop();
    await rm(path.join(home, "nats"), { recursive: true });
    const second = await newBroker(home);
    await newClient(second.url, second.adminCreds);
    await newClient(second.url, await second.agentCreds(ann));
  });

  it("are not made for names that are wildcards, paths or reserved", async () => {
    const broker = await newBroker(await newHome());
    for (const name of ["*", ">", "a.b", "../ann", "admin", "", "{{name()}}"]) {
      await expect(broker.agentCreds(name as AgentName)).rejects.toThrow(expect.objectContaining({ code: "invalid" }));
    }
  });

  it("may be asked for by several at once", async () => {
    const broker = await newBroker(await newHome());
    const files = await Promise.all([ann, bob, ann, bob, ann].map((name) => broker.agentCreds(name)));
    expect(new Set(files).size).toBe(2);
    for (const file of files) await newClient(broker.url, file);
  });
});

describe("a configured nats-server", () => {
  it("is used with the credentials that are given, and makes none", async () => {
    const server = await newBroker(await newHome());
    const broker = await startBroker(options(await newHome(), { url: server.url, creds: server.adminCreds }));
    onTestFinished(() => broker.stop());
    expect(broker.own).toBe(false);
    expect(broker.adminCreds).toBe(server.adminCreds);
    await expect(broker.agentCreds(ann)).rejects.toThrow(expect.objectContaining({ code: "unavailable" }));
    await broker.revokeAgent(ann);
  });

  it("is a coded error when it refuses the credentials, or the file is not there", async () => {
    const server = await newBroker(await newHome());
    const home = await newHome();
    await expect(startBroker(options(home, { url: server.url }))).rejects.toThrow(
      expect.objectContaining({ code: "denied" }),
    );
    await expect(startBroker(options(home, { url: server.url, creds: "/nowhere" }))).rejects.toThrow(
      expect.objectContaining({ code: "unavailable" }),
    );
  });
});

async function reconnected(connection: NatsConnection): Promise<void> {
  for await (const status of connection.status()) if (status.type === Events.Reconnect) return;
}

async function record(connection: NatsConnection, events: string[]): Promise<void> {
  for await (const status of connection.status()) events.push(status.type);
}
