import { parseArgs } from "node:util";
import { report } from "./request-log.ts";
import { HubServer } from "./server.ts";

/*
 * The strict Hub as a process, to try vlinder or the client against: `node test/harness/hub/main.ts [--port N]
 * [--owner NAME] [--token hf_…] [--folder DIR]`. Says what to set, and at its end how many bytes went over which route.
 */
const { values } = parseArgs({
  options: {
    port: { type: "string", default: "0" },
    owner: { type: "string", default: "me" },
    token: { type: "string", default: "hf_local" },
    folder: { type: "string" },
  },
});
const say = (text: string): void => void process.stdout.write(`${text}\n`);
const server = await HubServer.start({
  port: Number(values.port),
  people: { [values.token]: { name: values.owner, role: "write" } },
  ...(values.folder === undefined ? {} : { folder: values.folder }),
});
say(`HF_ENDPOINT=${server.url} HF_TOKEN=${values.token}`);

async function stop(): Promise<void> {
  for (const { note, path, route, status } of server.log.entries) {
    if (status >= 400) say(`refused: ${route} ${path}: ${status} ${note}`);
  }
  for (const { route, requests, up, down } of report(server.log.entries)) {
    say(
      `${route.padEnd(22)} ${String(requests).padStart(6)} requests ${String(up).padStart(12)} up ${String(down).padStart(12)} down`,
    );
  }
  await server.close();
}
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void stop());
