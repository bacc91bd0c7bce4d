import type { Command } from "commander";

/** A word that may come next, and what it means. */
export interface Word {
  readonly word: string;
  readonly about: string;
}

/** What may follow one command: `path` is the words before it, without `vlinder`. */
export interface Place {
  readonly path: readonly string[];
  readonly next: readonly Word[];
  /** The first argument is an agent's name. */
  readonly agent: boolean;
}

/** Every command and subcommand, outermost first. */
export function wordsOf(program: Command, path: readonly string[] = []): Place[] {
  const { commands, options, registeredArguments } = program;
  const next = [
    ...commands.map((command) => ({ word: command.name(), about: command.description() })),
    ...options.flatMap(({ long, description, hidden }) =>
      long === undefined || long === null || hidden ? [] : [{ word: long, about: description }],
    ),
  ];
  const agent = registeredArguments[0]?.name() === "agent";
  return [{ path, next, agent }, ...commands.flatMap((command) => wordsOf(command, [...path, command.name()]))];
}
