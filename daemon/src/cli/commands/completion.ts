import { Argument } from "commander";
import type { Define } from "../catalogue.ts";
import { completionScript, type Shell, SHELLS } from "../completion/script.ts";
import { wordsOf } from "../completion/words.ts";
import type { Outcome } from "../outcome.ts";

export const defineCompletion: Define = (command, act) => {
  command
    .addArgument(new Argument("<shell>").choices(SHELLS))
    .addHelpText(
      "after",
      `
bash:  source <(vlinder completion bash)        in ~/.bashrc
zsh:   source <(vlinder completion zsh)         in ~/.zshrc, after compinit
fish:  vlinder completion fish | source         in ~/.config/fish/config.fish`,
    )
    .action(
      act(async (context, shell: Shell): Promise<Outcome> => {
        const script = completionScript(shell, wordsOf(await context.commands()));
        return { json: { shell, script }, people: () => Buffer.from(script, "utf8") };
      }),
    );
};
