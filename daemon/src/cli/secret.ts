import type { Context } from "./context.ts";
import { UsageError } from "./failure.ts";

/** As much as is read of standard input: more is no key. */
const MOST = 64 * 1024;

/** Asks for a secret on the terminal, where it is not shown; without one, it is what standard input has. @throws UsageError */
export async function askSecret(context: Context, question: string): Promise<string> {
  const { stdin, stderr } = context.terminal;
  if (stdin.isTTY !== true) return await allOf(stdin);
  if (stdin.setRawMode === undefined) {
    throw new UsageError("this terminal shows what is typed", "pipe the key in: vlinder provider set NAME < FILE");
  }
  context.endProgress();
  stderr.write(question);
  stdin.setRawMode(true);
  try {
    return await typedOn(stdin);
  } finally {
    stdin.setRawMode(false);
    stderr.write("\n");
  }
}

async function allOf(stdin: AsyncIterable<Uint8Array | string>): Promise<string> {
  let text = "";
  for await (const chunk of stdin) {
    text += Buffer.from(chunk as Uint8Array).toString("utf8");
    if (text.length > MOST) throw new UsageError("standard input is no key", "pipe one line in");
  }
  return text;
}

/** A line, edited as a terminal would have done it. */
async function typedOn(stdin: AsyncIterable<Uint8Array | string>): Promise<string> {
  let line = "";
  for await (const chunk of stdin) {
    for (const character of Buffer.from(chunk as Uint8Array).toString("utf8")) {
      if (character === "\r" || character === "\n" || character === "\x04") return line;
      if (character === "\x03") throw new UsageError("nothing was set", "run it again to set a key");
      if (character === "\x7f" || character === "\b") line = line.slice(0, -1);
      else if (character === "\x15") line = "";
      else line += character;
    }
  }
  return line;
}
