import { CommanderError } from "commander";
import type { Act } from "./catalogue.ts";
import type { Context, Terminal } from "./context.ts";
import type { Outcome } from "./outcome.ts";
import { buildProgram } from "./program.ts";
import { wantsColor } from "./render/color.ts";

/** Runs one command line and prints what it found out; returns the exit code. */
export async function run(words: readonly string[], terminal: Terminal): Promise<number> {
  const argv = withHelpOption(words);
  const json = wantsJson(argv);
  let helpOnError = "";
  const output = {
    out: (text: string): void => void terminal.stdout.write(text),
    err: (text: string): void => void (helpOnError += text),
  };
  let context: Context | null = null;
  let outcome: Outcome | null = null;
  const act: Act =
    (work) =>
    async (...args) => {
      const made = await import("./context.ts");
      context = new made.Context(terminal, json, () => buildProgram(null, act, output));
      outcome = await work(context, ...args);
    };
  try {
    const program = await buildProgram(argv, act, output);
    await program.parseAsync(argv, { from: "user" });
    return outcome === null ? 0 : await print(outcome, context, terminal, json);
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    return await printError(error, context, terminal, json, helpOnError);
  } finally {
    await (context as Context | null)?.close();
  }
}

/** `vlinder help kv put` is `vlinder kv put --help`, and no word at all asks for help, too. */
function withHelpOption(words: readonly string[]): string[] {
  if (words.length === 0) return ["--help"];
  return words[0] === "help" ? [...words.slice(1).filter((word) => word !== "--json"), "--help"] : [...words];
}

/** Known before the words are parsed, since an error in them is told as a document, too. */
function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  return argv.slice(0, end === -1 ? undefined : end).includes("--json");
}

async function print(outcome: Outcome, context: Context | null, terminal: Terminal, json: boolean): Promise<number> {
  const { renderBlocks, renderJson } = await import("./outcome.ts");
  context?.endProgress();
  const { stdout, stderr } = terminal;
  if (outcome.later !== undefined) {
    const color = wantsColor(stdout, terminal.env);
    for await (const one of outcome.later) stdout.write(json ? renderJson(one.json) : renderBlocks(one.people, color));
  } else if (json) stdout.write(renderJson(outcome.json));
  else {
    const shown = outcome.people();
    if (Symbol.asyncIterator in shown) await writeAll(stdout, shown);
    else stdout.write(shown instanceof Uint8Array ? shown : renderBlocks(shown, wantsColor(stdout, terminal.env)));
    if (outcome.aside !== undefined) stderr.write(renderBlocks(outcome.aside, wantsColor(stderr, terminal.env)));
  }
  const { EXIT } = await import("./failure.ts");
  return outcome.failed === true ? EXIT.failed : EXIT.fine;
}

/** No faster than it is read at the other end. */
async function writeAll(stdout: Terminal["stdout"], bytes: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const part of bytes) {
    if (stdout.write(part) === false) await new Promise<void>((resolve) => stdout.once?.("drain", resolve));
  }
}

async function printError(
  thrown: unknown,
  context: Context | null,
  terminal: Terminal,
  json: boolean,
  help: string,
): Promise<number> {
  const { errorLines, exitCodeOf, usageError } = await import("./failure.ts");
  const { renderBlocks, renderJson } = await import("./outcome.ts");
  const { asVlinderError } = await import("@vlinder/protocol");
  context?.endProgress();
  let error;
  if (thrown instanceof CommanderError) {
    const noCommand = thrown.code === "commander.help";
    if (noCommand && !json) {
      terminal.stderr.write(help);
      return exitCodeOf(usageError("a command is missing", ""));
    }
    error = usageError(noCommand ? "a command is missing" : thrown.message, "see `vlinder help`");
  } else {
    error = context === null ? asVlinderError(thrown) : await context.explain(thrown);
  }
  if (json) terminal.stdout.write(renderJson({ error: error.toBody() }));
  else terminal.stderr.write(renderBlocks(errorLines(error), wantsColor(terminal.stderr, terminal.env)));
  return exitCodeOf(error);
}
