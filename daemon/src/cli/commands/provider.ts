import { mkdir } from "node:fs/promises";
import type { ProviderItem, ProviderTestReply } from "@vlinder/protocol";
import type { Define } from "../catalogue.ts";
import type { Context } from "../context.ts";
import { errorLines, UsageError } from "../failure.ts";
import type { Block, Outcome } from "../outcome.ts";
import { bold, dim, green, red, yellow } from "../render/color.ts";
import { askSecret } from "../secret.ts";

export const defineProvider: Define = (command, act) => {
  command
    .command("list")
    .description("every provider, and where its key comes from; never the key")
    .action(
      act(async (context): Promise<Outcome> => {
        const reply = await (await context.client()).admin("providers.list");
        return { json: reply, people: () => listBlocks(reply.items) };
      }),
    );
  command
    .command("set")
    .description("keep a provider's key: asked for on the terminal, or read from standard input")
    .argument("<provider>", "openai, anthropic, openrouter, or one of config.toml")
    .action(act((context, name: string) => set(context, name)));
  command
    .command("test")
    .description("ask a provider for something that costs nothing, with its key")
    .argument("<provider>")
    .action(
      act(async (context, provider: string): Promise<Outcome> => {
        const reply = await (await context.client()).admin("providers.test", { provider });
        return { json: reply, people: () => testBlocks(reply), failed: !reply.ok };
      }),
    );
};

/** Writes the key to the home itself: it never travels, and no daemon need run. */
async function set(context: Context, name: string): Promise<Outcome> {
  const { openHome, providerKeys } = await import("../../registry/home.ts");
  const { loadConfig } = await import("../../registry/config.ts");
  const { writeFileAtomic } = await import("../../registry/atomic-file.ts");
  const { parseKeyText, storedKeyFile } = await import("../../providers/keys.ts");
  if ((context.terminal.env["VLINDER_URL"] ?? "") !== "") {
    throw new UsageError(
      "VLINDER_URL names a daemon, whose home may be on another machine",
      "unset it, and run this on the daemon's machine, with its VLINDER_HOME",
    );
  }
  const home = await openHome();
  const { providers } = await loadConfig(home, context.terminal.env);
  const provider = Object.hasOwn(providers, name) ? providers[name] : undefined;
  if (provider === undefined) {
    throw new UsageError(
      `there is no provider ${JSON.stringify(name)}`,
      `there are ${Object.keys(providers).join(", ")}; others are [providers.NAME] in config.toml`,
    );
  }
  const elsewhere = provider.keyFile ?? provider.keyEnv;
  if (elsewhere !== null) {
    throw new UsageError(
      `config.toml says that the key of "${name}" is in ${elsewhere}`,
      "set it there, or take key_file and key_env out of config.toml",
    );
  }
  const key = parseKeyText(await askSecret(context, `Key of ${name} (not shown): `), "what was given");
  const folder = providerKeys(home);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = storedKeyFile(folder, name);
  await writeFileAtomic(path, `${key}\n`, 0o600);
  return {
    json: { provider: name, path },
    people: () => [
      [green("stored "), path, dim("   mode 0600; used from the next call on")],
      ["next: ", bold(`vlinder provider test ${name}`)],
    ],
  };
}

const SOURCES: Readonly<Record<NonNullable<ProviderItem["key"]["from"]>, string>> = {
  file: "file ",
  stored: "stored in ",
  systemd: "systemd credential ",
  environment: "environment: ",
};

function listBlocks(items: readonly ProviderItem[]): Block[] {
  return [
    {
      columns: [{ head: "provider" }, { head: "speaks" }, { head: "url" }, { head: "key" }, { head: "agents" }],
      rows: items.map((item) => [item.provider, item.protocol, item.url, keyText(item), item.agents.join(", ")]),
    },
    ...items.flatMap(({ key }) => (key.error === null ? [] : errorLines(key.error))),
    ...items.flatMap(({ notes }) => notes.map((note) => [yellow("note: "), note])),
  ];
}

function keyText({ key: { from, place, required, error } }: ProviderItem) {
  if (error !== null) return red("not usable");
  if (from !== null) return `${SOURCES[from]}${place ?? ""}`;
  return required ? yellow("missing") : dim("none needed");
}

function testBlocks({ provider, url, ok, status, milliseconds, problem }: ProviderTestReply): Block[] {
  if (ok) return [[green("ok "), `${provider} answered ${status ?? ""} in ${milliseconds} ms`, dim(`   ${url}`)]];
  return problem === null ? [red("failed")] : errorLines(problem);
}
