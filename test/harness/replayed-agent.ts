import { serve, type Turn, type TurnOutput } from "@vlinder/agent-runtime";
import { onTestFinished } from "vitest";
import type { Answering } from "./http-provider.ts";
import type { TestDaemon } from "./test-daemon.ts";

export const MODEL = "small";
export const OTHER_MODEL = "large";
const CHAT = "http://vlinder/v1/chat/completions";

/** What agent.toml of an agent declares that calls models of the provider `local`. */
export const CALLS_LOCAL = `object_storage = "sqlite://objects.db"
[requirements.services.infer]
provider = "local"
models = ["${MODEL}", "${OTHER_MODEL}"]
`;

/** Asks a model as a program without an SDK does. @throws with what the answer says, when it is no completion */
export async function ask(turn: Turn, content: string, more: object = {}): Promise<string> {
  const body = JSON.stringify({ model: MODEL, messages: [{ role: "user", content }], ...more });
  const response = await turn.fetch(CHAT, { method: "POST", body });
  const answer = (await response.json()) as {
    choices?: { message: { content: string } }[];
    error?: { message: string };
  };
  if (!response.ok) throw new Error(`${response.status} ${answer.error?.message ?? ""}`);
  return answer.choices?.[0]?.message.content ?? "";
}

/** Says which model was asked what, and for the how-manieth time: no two answers are the same. */
export function counting(): Answering {
  let calls = 0;
  return (response, { body }) => {
    const { model, messages } = JSON.parse(body) as { model: string; messages: { content: string }[] };
    const content = `${model} says ${++calls} to ${messages.at(-1)?.content}`;
    response.writeHead(200, { "content-type": "application/json" });
    response.end(
      JSON.stringify({
        choices: [{ index: 0, message: { role: "assistant", content } }],
        usage: { prompt_tokens: body.length, completion_tokens: content.length },
      }),
    );
  };
}

/** Serves an agent until the test is over, or it is closed. */
export async function serving(
  daemon: TestDaemon,
  agent: string,
  run: (turn: Turn) => Promise<TurnOutput> | TurnOutput,
): Promise<() => Promise<void>> {
  const server = await serve(agent, run, { home: daemon.home, onError: () => {} });
  const close = (): Promise<void> => server.close();
  onTestFinished(close);
  return close;
}
