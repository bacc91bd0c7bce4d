import type { AdminOperation, AdminReplies, VaultAddReply, VaultDevicesReply } from "@vlinder/protocol";
import type { VaultAdmin } from "../../sync/vault/vault-admin.ts";
import type { Define } from "../catalogue.ts";
import { type Context, PATIENT } from "../context.ts";
import type { Block, Outcome } from "../outcome.ts";
import { withOwnSync } from "../own-sync.ts";
import { readRecoveryKey, recoveryBlocks } from "../recovery-key.ts";
import { bold, dim, green, yellow } from "../render/color.ts";
import { short } from "../render/hash.ts";
import { facts } from "../render/table.ts";
import { ago } from "../render/time.ts";

type VaultOperation = AdminOperation & `vault.${string}`;

/** By the daemon, or with the home's own files while none runs. */
async function ask<Op extends VaultOperation>(
  context: Context,
  operation: Op,
  request: Record<string, string>,
  here: (vault: VaultAdmin) => Promise<AdminReplies[Op]>,
): Promise<AdminReplies[Op]> {
  const client = await context.clientOrNull();
  if (client === null) return withOwnSync((sync) => here(sync.vault));
  return client.admin(operation, request as never, PATIENT);
}

export const defineVault: Define = (command, act) => {
  command
    .command("devices")
    .description("the machines of the vault: who is trusted, since when, and last seen when")
    .action(
      act(async (context): Promise<Outcome> => {
        const reply = await ask(context, "vault.devices", {}, (vault) => vault.devices());
        return { json: reply, people: () => deviceBlocks(reply) };
      }),
    );
  command
    .command("request")
    .description("on a new machine: what a member needs to let it into an encrypted vault")
    .option("--name <name>", "what the members call this machine (default: its host name)")
    .action(
      act(async (context, flags: { readonly name?: string }): Promise<Outcome> => {
        const reply = await ask(context, "vault.request", { ...flags }, (vault) => vault.request(flags.name));
        return {
          json: reply,
          people: () => [
            reply.request,
            "",
            facts([
              ["device", short(reply.device)],
              ["fingerprint", reply.fingerprint],
            ]),
            dim("on a machine that is a member: vlinder vault add REQUEST, and compare the fingerprint"),
          ],
        };
      }),
    );
  command
    .command("add")
    .description("let a machine into the encrypted vault: it can read all that is there, and write")
    .argument("<request>", "what vlinder vault request printed on it")
    .action(
      act(async (context, request: string): Promise<Outcome> => {
        const reply = await ask(context, "vault.add", { request }, (vault) => vault.add(request));
        return { json: reply, people: () => addedBlocks(reply) };
      }),
    );
  command
    .command("distrust")
    .description("take a machine out: what it writes from now on is not taken")
    .argument("<device>", "its id, or how it begins: see vlinder vault devices")
    .option("--key <file>", "sign with the recovery key, which outranks all machines; - asks for it")
    .action(
      act(async (context, device: string, flags: { readonly key?: string }): Promise<Outcome> => {
        const key = flags.key === undefined ? undefined : await readRecoveryKey(context, flags.key);
        const request = key === undefined ? { device } : { device, key };
        const reply = await ask(context, "vault.distrust", request, (vault) => vault.distrust(device, key));
        return { json: reply, people: () => distrustBlocks(reply) };
      }),
    );
  command
    .command("rotate")
    .description("a new key for what is pushed from now on, and a new recovery key; prints it, once")
    .option("--key <file>", "sign with the recovery key there is; - asks for it")
    .action(
      act(async (context, flags: { readonly key?: string }): Promise<Outcome> => {
        const key = flags.key === undefined ? undefined : await readRecoveryKey(context, flags.key);
        const reply = await ask(context, "vault.rotate", key === undefined ? {} : { key }, (vault) =>
          vault.rotate(key),
        );
        return {
          json: reply,
          people: () => [
            [green("rotated: "), "recovery keys before this one are void; what was pushed before stays as it is"],
            ...recoveryBlocks(reply.recovery),
          ],
        };
      }),
    );
};

function deviceBlocks({ vault, hash, encrypted, items }: VaultDevicesReply): Block[] {
  if (vault === null) return [dim("no vault: memory is kept only on this machine")];
  return [
    facts([
      ["vault", `${short(vault)}   ${encrypted ? "encrypted" : "plain: any machine that can write to the bucket"}`],
      ["hash", hash?.slice(0, 32) ?? null],
    ]),
    "",
    {
      columns: [
        { head: "device" },
        { head: "name" },
        { head: "key" },
        { head: "since" },
        { head: "seen" },
        { head: "trusted" },
      ],
      rows: items.map(({ device, name, key, self, since, seen, trusted, until }) => [
        short(device),
        name ?? "",
        key.slice(0, 16),
        since === null ? "" : ago(since),
        self ? "this machine" : seen === null ? "not yet" : ago(seen),
        trusted ? "yes" : until === null ? "no" : `no, since ${until.slice(0, 10)}`,
      ]),
    },
  ];
}

function addedBlocks({ device, name, fingerprint, added, bucket, hash }: VaultAddReply): Block[] {
  return [
    [green(added ? "added " : "a member already: "), `${name}   device ${short(device)}`],
    facts([["fingerprint", `${fingerprint}   must be what the machine itself shows`]]),
    ["then, on that machine: ", bold(`vlinder init ${bucket} --vault ${hash.slice(0, 32)}`)],
  ];
}

function distrustBlocks({ device, changed, everywhere }: AdminReplies["vault.distrust"]): Block[] {
  const what = changed ? green("taken out ") : "taken out before: ";
  if (!everywhere) {
    return [
      [what, `device ${short(device)}, on this machine: its heads are refused from now on`],
      [
        yellow("note: "),
        "the vault is a plain one. Other machines must take it out, too, and while the device can write to the",
      ],
      "bucket it can come back under a new id: take away its access to the bucket.",
    ];
  }
  return [
    [what, `device ${short(device)}, on all machines: what it writes from now on is not taken`],
    [
      yellow("note: "),
      "it keeps what it has, and with its old key it can read what was pushed before, as long as it can read the bucket.",
    ],
    "What is pushed later is encrypted to a new key. If it may know the recovery key: vlinder vault rotate.",
  ];
}
