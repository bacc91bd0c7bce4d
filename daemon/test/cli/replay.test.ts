import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { serve, type Server, type Turn } from "@vlinder/agent-runtime";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Answering, HttpProvider } from "../../../test/harness/http-provider.ts";
import { ask, CALLS_LOCAL } from "../../../test/harness/replayed-agent.ts";
import { documentOf, type RunningDaemon, startDaemon, temporary, vlinder } from "./harness.ts";

let folder: Awaited<ReturnType<typeof temporary>>;
let daemon: RunningDaemon;
let local: HttpProvider;
let hosted: HttpProvider;
const servers: Server[] = [];
let changed = false;

async function poet(turn: Turn): Promise<string> {
  const question = changed ? `In two words: ${turn.input}` : turn.input;
  const answer = await ask(turn, question);
  if (turn.input === "a cup" && changed) await turn.emit("thinking… ");
  const poems = (await turn.kv.get("/poems"))?.text() ?? "";
  await turn.kv.put("/poems", `${poems}${answer}\n`);
  return answer;
}

function says(words: string): Answering {
  return (response, { body }) => {
    response.writeHead(200, { "content-type": "application/json" });
    const message = { role: "assistant", content: words };
    const usage = { prompt_tokens: Math.ceil(body.length / 4), completion_tokens: words.split(" ").length };
    response.end(JSON.stringify({ choices: [{ index: 0, message }], usage }));
  };
}

beforeAll(async () => {
  folder = await temporary();
  local = await HttpProvider.start();
  hosted = await HttpProvider.start();
  const home = join(folder.path, "home");
  process.env["VLINDER_HOME"] = home;
  await mkdir(home);
  await writeFile(
    join(home, "config.toml"),
    `[providers.local]\nurl = "${local.url}/v1"\n[providers.hosted]\nurl = "${hosted.url}/v1"\n`,
  );
  daemon = await startDaemon(home);
  for (const name of ["poet", "haiku"]) {
    const dir = join(folder.path, name);
    await mkdir(dir);
    await writeFile(join(dir, "agent.toml"), `name = "${name}"\n${CALLS_LOCAL}`);
    await vlinder(["agent", "add", dir]);
    servers.push(await serve(name, poet, { onError: () => {} }));
  }
}, 60_000);

afterAll(async () => {
  for (const server of servers) await server.close();
  await daemon?.stop();
  await local?.stop();
  await hosted?.stop();
  await folder?.remove();
});

beforeEach(() => {
  changed = false;
  local.answering = says("Steam, and a quiet hour.");
  hosted.answering = says("A warm cup waits.\nNobody hurries.");
});

async function turnOf(input = "a cup"): Promise<string> {
  const { code, out } = await vlinder(["run", "poet", "-m", input, "--json"]);
  expect(code).toBe(0);
  return (JSON.parse(out) as { turn: string }).turn;
}

const replay = (...more: string[]) => vlinder(["replay", "poet", ...more]);

describe("vlinder replay", () => {
  test("--recorded: the same, and exit code 0", async () => {
    const turn = await turnOf();
    local.seen.length = 0;
    const { code, out, err } = await replay("--turn", turn, "--recorded");
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(out).toMatch(/^same {2}t-\w+ replays t-\w+\n/);
    expect(out).toMatch(/output +same\nstate +same +snapshot [0-9a-f]{7}\ncalls +same\n/);
    expect(out).toContain("1, from the record");
    expect(out).toContain(`vlinder branch delete poet replay/${turn}`);
    expect(local.seen).toEqual([]);
  });

  test("another provider: output, state and cost are compared, and exit code 1", async () => {
    const turn = await turnOf();
    const { code, out } = await replay("--turn", turn, "--model", "hosted/large-1");
    expect(code).toBe(1);
    expect(hosted.last.body).toContain('"model":"large-1"');
    expect(out).toMatch(/^differs: output, state /);
    expect(out).toMatch(/models +local\/small +hosted\/large-1\n/);
    expect(out).toMatch(/tokens +\d+ in, 5 out +\d+ in, 5 out\n/);
    expect(out).toContain("-Steam, and a quiet hour.\n");
    expect(out).toContain("+Nobody hurries.\n");
    expect(out).toMatch(/~ {2}\/poems/);
    expect(out).toContain(`vlinder promote poet replay/${turn}`);
    expect(out).not.toContain("calls   same");
  });

  test("a changed agent: where it diverged, with both requests", async () => {
    const turn = await turnOf();
    changed = true;
    const { code, out } = await replay("--turn", turn, "--recorded");
    expect(code).toBe(1);
    expect(out).toMatch(/^differs: end \(failed, and not completed\), output, state, calls /);
    expect(out).toContain("call 1 of the replay is not one that the turn made");
    expect(out).toContain("1 call not asked then  1 recorded call not asked now");
    expect(out).toMatch(/call 1 {2}infer POST \/v1\/chat\/completions {2}[0-9a-f]{7} against [0-9a-f]{7}\n/);
    expect(out).toContain('- /messages/0  {"role":"user","content":"a cup"}\n');
    expect(out).toContain('+ /messages/0  {"role":"user","content":"In two words: a cup"}\n');
    const kept = /vlinder log poet --branch (\S+)/.exec(out)?.[1] ?? "";
    expect(kept).toMatch(/^turn\/t-/);
    const log = await vlinder(["log", "poet", "--branch", kept]);
    expect(log.out).toContain("infer /v1/chat/completions not in the record: not asked");
    const call = /([0-9a-f]{7}) against/.exec(out)?.[1] ?? "";
    expect((await vlinder(["show", "poet", call])).out).toContain("not in the record");
  });

  test("--at names the turn by a commit or a branch; --json is one document", async () => {
    const turn = await turnOf();
    const document = documentOf(await replay("--at", "main", "--recorded", "--branch", `of-${turn}`, "--json"));
    expect(document).toMatchObject({ of: turn, branch: `of-${turn}`, differs: false, state: { items: [] } });
    await vlinder(["kv", "put", "poet", "/x", "1"]);
    const none = await replay("--at", "main", "--recorded");
    expect(none.code).toBe(1);
    expect(none.err).toContain("belongs to no turn");
    const other = documentOf(await replay("--turn", turn, "--provider", "hosted", "--json"));
    expect(other).toMatchObject({
      differs: true,
      state: { counts: { changed: 1 }, items: [{ key: "/poems", values: { kind: "text" } }] },
      replay: { cost: { models: ["hosted/small"] } },
    });
  });

  test("what the agent emits is shown as it comes, and not in --json", async () => {
    const turn = await turnOf();
    changed = true;
    const { out } = await replay("--turn", turn, "--provider", "hosted");
    expect(out).toMatch(/^thinking… \n\ndiffers: /);
  });

  test("a name that no provider has is part of the model's", async () => {
    const turn = await turnOf();
    await replay("--turn", turn, "--model", "meta/llama");
    expect(local.last.body).toContain('"model":"meta/llama"');
    await replay("--turn", turn, "--provider", "local", "--model", "hosted/x");
    expect(local.last.body).toContain('"model":"hosted/x"');
  });

  test("wrong usage is said before anything is asked", async () => {
    for (const [argv, told] of [
      [[], "which turn"],
      [["--turn", "t-1", "--at", "main"], "which turn"],
      [["--turn", "t-1", "--recorded", "--model", "x"], "asks no model"],
    ] as const) {
      const { code, err } = await replay(...argv);
      expect([code, err]).toEqual([2, expect.stringContaining(told)]);
    }
    expect(await replay("--turn", "t-none")).toMatchObject({ code: 1, err: expect.stringContaining("no turn") });
    const unknown = await replay("--turn", await turnOf(), "--provider", "nowhere");
    expect(unknown.err).toContain('there is no provider "nowhere"');
  });
});

test("the transcript of docs/replay.md is what is printed", async () => {
  const text = await readFile(new URL("../../../docs/replay.md", import.meta.url), "utf8");
  const transcript = /^```\n(\$ vlinder run .*?)^```$/ms.exec(text)?.[1] ?? "";
  const shown: string[] = [];
  for (const [, line = ""] of transcript.matchAll(/^\$ vlinder (.*)$/gm)) {
    const argv = [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? "");
    const { out, err } = await vlinder(argv);
    shown.push(`$ vlinder ${line}\n${out}${err}`);
  }
  expect(shown).toHaveLength(3);
  expect(comparable(shown.join("\n"))).toBe(comparable(transcript));
});

/** Without what is another one each time: ids, hashes, times, and the columns that move with them. */
function comparable(text: string): string {
  return text
    .replace(/t-[0-9a-z]+/g, "t-")
    .replace(/\b[0-9a-f]{7}\b/g, "hash")
    .replace(/\d+\.\d s/g, "time")
    .replace(/ +/g, " ")
    .trim();
}

test("a run on a model that agent.toml does not declare is a person's to ask for", async () => {
  const { code, out } = await vlinder(["run", "poet", "-m", "a cup", "--provider", "hosted", "--model", "undeclared"]);
  expect({ code, out }).toEqual({ code: 0, out: "A warm cup waits.\nNobody hurries.\n" });
});
