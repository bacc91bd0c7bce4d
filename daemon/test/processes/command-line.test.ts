import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { splitCommandLine } from "../../src/processes/command-line.ts";

const SPLIT: readonly [text: string, words: readonly string[]][] = [
  ["node main.ts", ["node", "main.ts"]],
  ["  node \t main.ts\\\n --port=1 ", ["node", "main.ts", "--port=1"]],
  [`a "b\\\nc" d\\\ne "x\n"`, ["a", "bc", "de", "x\n"]],
  [`sh -c 'sleep 1; echo "$HOME" | cat > x'`, ["sh", "-c", 'sleep 1; echo "$HOME" | cat > x']],
  [`a "b c"'d e'f\\ g`, ["a", "b cd ef g"]],
  [`a '' ""`, ["a", "", ""]],
  [`a "\\"\\\\\\$\\\`\\n"`, ["a", '"\\$`\\n']],
  [`a \\' \\" \\\\ \\$x`, ["a", "'", '"', "\\", "$x"]],
  [`a x~ b=~ "~" '#' %d {} !`, ["a", "x~", "b=~", "~", "#", "%d", "{}", "!"]],
  ["./grüße.sh 日本 \u{1f600}", ["./grüße.sh", "日本", "\u{1f600}"]],
];

test.each(SPLIT)("%j is split as a shell splits it", (text, words) => {
  expect(splitCommandLine(text)).toEqual(words);
  const printed = execFileSync("sh", ["-c", `printf '%s\\0' ${text}`], { encoding: "utf8" });
  expect(printed.split("\0").slice(0, -1)).toEqual(words);
});

test("a text of several lines is one command", () => {
  expect(splitCommandLine("\nnode main.ts\n  --port=1\n")).toEqual(["node", "main.ts", "--port=1"]);
});

test.each([
  ["", "names no program"],
  ["  ", "names no program"],
  [`"" x`, "names no program"],
  ["node 'main.ts", "a ' is not closed"],
  [`node "main.ts\\"`, 'a " is not closed'],
  ["node main.ts\\", "ends with a backslash"],
  ["node main.ts > log", "> means something to a shell"],
  ["node main.ts &", "& means something"],
  ["a; b", "; means something"],
  ["a | b", "| means something"],
  ["node $HOME/main.ts", "$ means something"],
  [`node "$HOME/main.ts"`, "$ means something"],
  ["echo `id`", "` means something"],
  ["~/bin/agent", "~ means something"],
  ["a\0b", "NUL"],
])("%j is refused", (text, why) => {
  const refuse = (): unknown => splitCommandLine(text);
  expect(refuse).toThrow(why);
  expect(refuse).toThrow(expect.objectContaining({ code: "invalid", remedy: expect.any(String) }));
});
