import { Command, Option } from "commander";
import { packageVersion } from "../program-files.ts";
import { type Act, CATALOGUE } from "./catalogue.ts";

/** Where help goes, and what commander would say on errors. */
export interface ProgramOutput {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

/**
 * The command line as commander reads it. Only the command that `argv` names is loaded, with `null`
 * every one.
 */
export async function buildProgram(argv: readonly string[] | null, act: Act, output: ProgramOutput): Promise<Command> {
  const program = new Command("vlinder")
    .description("Versioned memory for AI agents: a client of vlinderd.")
    .version(packageVersion(), "-V, --version")
    .addOption(new Option("--json").hideHelp())
    .helpOption("-h, --help", "show help")
    // `help` is an option by the time the words come here: commander's own reaches no subcommand.
    .helpCommand(false)
    .exitOverride()
    .configureOutput({ writeOut: output.out, writeErr: output.err, outputError: () => undefined })
    .addHelpText(
      "after",
      "\nMore on one: vlinder help COMMAND. Every command takes --json.\nTo begin: vlinderd, then vlinder agent new DIR",
    );
  const wanted = argv?.find((word) => !word.startsWith("-"));
  for (const { name, summary, group, load } of CATALOGUE) {
    const command = program.command(name).description(summary).helpGroup(group);
    if (argv !== null && wanted !== name) continue;
    (await load())(command, act);
    for (const leaf of leavesOf(command)) leaf.option("--json", "one JSON document on standard output, nothing else");
  }
  return program;
}

function leavesOf(command: Command): Command[] {
  return command.commands.length === 0 ? [command] : command.commands.flatMap(leavesOf);
}
