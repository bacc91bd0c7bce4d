import type { Place, Word } from "./words.ts";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/**
 * A script that completes commands and options from words that are written into it, and agents'
 * names from the home's folders: a key press starts no program of ours.
 */
export function completionScript(shell: Shell, places: readonly Place[]): string {
  return { bash, zsh, fish }[shell](places);
}

/** Only what is an agent's name: bash would expand anything else that a folder is called. */
const AGENTS = `command ls "\${VLINDER_HOME:-$HOME/.vlinder}/agents" 2>/dev/null | command grep -x '[a-z0-9-]*'`;

/** The place of each command as lines of a `case` on the words before the cursor. */
function cases(places: readonly Place[], body: (place: Place) => string): string {
  return places
    .filter(({ path }) => path.length > 0)
    .toSorted((a, b) => b.path.length - a.path.length)
    .map((place) => `    ${patterns(place.path)}) ${body(place)} ;;`)
    .join("\n");
}

/** `kv put` fits "kv put" and "kv put todo /a". */
function patterns(path: readonly string[]): string {
  const words = path.join(" ");
  return `"${words}"|"${words} "*`;
}

const top = (places: readonly Place[]): readonly Word[] => places.find(({ path }) => path.length === 0)?.next ?? [];
const list = (words: readonly Word[]): string => words.map(({ word }) => word).join(" ");

function bash(places: readonly Place[]): string {
  return `# bash completion of vlinder; source it
_vlinder() {
  local current="\${COMP_WORDS[COMP_CWORD]}" before="" words="" agent=0 depth=0 typed=0 i
  for ((i = 1; i < COMP_CWORD; i++)); do
    [[ "\${COMP_WORDS[i]}" == -* ]] || { before+="\${before:+ }\${COMP_WORDS[i]}"; typed=$((typed + 1)); }
  done
  case "$before" in
${cases(places, ({ path, next, agent }) => `words="${list(next)}"; agent=${agent ? 1 : 0}; depth=${path.length}`)}
    "") words="${list(top(places))}" ;;
  esac
  if [[ $agent -eq 1 && $typed -eq $depth && "$current" != -* ]]; then words="$(${AGENTS})"; fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o bashdefault -o default -F _vlinder vlinder
`;
}

function zsh(places: readonly Place[]): string {
  return `#compdef vlinder
# zsh completion of vlinder; source it after compinit
_vlinder() {
  local current="\${words[CURRENT]}" before="" agent=0 depth=0 typed=0 i
  local -a candidates
  for ((i = 2; i < CURRENT; i++)); do
    [[ "\${words[i]}" == -* ]] || { before+="\${before:+ }\${words[i]}"; typed=$((typed + 1)); }
  done
  case "$before" in
${cases(places, ({ path, next, agent }) => `candidates=(${next.map(zshWord).join(" ")}); agent=${agent ? 1 : 0}; depth=${path.length}`)}
    "") candidates=(${top(places).map(zshWord).join(" ")}) ;;
  esac
  if [[ $agent -eq 1 && $typed -eq $depth && "$current" != -* ]]; then candidates=(\${(f)"$(${AGENTS})"}); fi
  if ((\${#candidates})); then _describe vlinder candidates || _files; else _files; fi
}
compdef _vlinder vlinder
`;
}

function zshWord({ word, about }: Word): string {
  return single(`${word.replaceAll(":", "\\:")}:${about}`);
}

function fish(places: readonly Place[]): string {
  const agents =
    '(command ls (test -n "$VLINDER_HOME"; and echo "$VLINDER_HOME"; or echo "$HOME/.vlinder")/agents 2>/dev/null)';
  const lines = places.flatMap(({ path, next, agent }) => {
    const condition = single(
      path.length === 0
        ? "__fish_use_subcommand"
        : path.map((word) => `__fish_seen_subcommand_from ${word}`).join("; and "),
    );
    return [
      ...next.map(({ word, about }) => {
        const what = word.startsWith("--") ? `-l ${word.slice(2)}` : `-f -a ${single(word)}`;
        return `complete -c vlinder -n ${condition} ${what} -d ${fishQuoted(about)}`;
      }),
      ...(agent ? [`complete -c vlinder -n ${condition} -f -a ${single(agents)}`] : []),
    ];
  });
  return `# fish completion of vlinder; source it\n${lines.join("\n")}\n`;
}

/** In quotes that bash and zsh leave alone. */
function single(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function fishQuoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
