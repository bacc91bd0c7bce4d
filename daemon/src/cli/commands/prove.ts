import { writeFile } from "node:fs/promises";
import {
  canonicalJson,
  checkProof,
  commitOfProof,
  type Hash,
  invalid,
  type Json,
  parseHash,
  parseJson,
  parseKey,
  type Proof,
  type Proven,
  type ProveReply,
} from "@vlinder/protocol";
import { agentArgument, keyArgument, refArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import { smallContentOf } from "../content.ts";
import type { Context } from "../context.ts";
import { UsageError } from "../failure.ts";
import type { Block, Outcome } from "../outcome.ts";
import { dim, green, red } from "../render/color.ts";
import { short, shortHash } from "../render/hash.ts";
import { size } from "../render/size.ts";
import type { Span } from "../render/text.ts";

interface ProveOptions {
  readonly at?: string;
  readonly vectors?: boolean;
  readonly out?: string;
  readonly check?: string;
}

export const defineProve: Define = (command, act) => {
  command
    .argument("<agent>")
    .argument("<key>")
    .option(
      "--at <ref>",
      "in the state of this commit or branch, default main; with --check the whole hash that you trust",
    )
    .option("--vectors", "of the vectors, not the keys")
    .option("--out <file>", "write the proof to a file, to be checked anywhere")
    .option("--check <file>", "check a proof, with no daemon; - reads standard input")
    .action(
      act(async (context, name: string, keyText: string, options: ProveOptions): Promise<Outcome> => {
        const [agent, key] = [agentArgument(name), keyArgument(keyText)];
        if (options.check !== undefined) return await checked(context, agent, key, options.check, options);
        const at = options.at === undefined ? undefined : refArgument(options.at);
        const space = options.vectors === true ? "vectors" : "kv";
        const reply = await (await context.client()).request(agent, "timeline.prove", { key, space, at });
        if (options.out !== undefined) await written(options.out, reply.proof);
        return { json: reply, people: () => proveBlocks(agent, key, reply, options) };
      }),
    );
};

async function written(file: string, proof: Proof): Promise<void> {
  try {
    await writeFile(file, `${canonicalJson(proof as unknown as Json)}\n`);
  } catch (cause) {
    throw new UsageError(`${file} can't be written: ${(cause as Error).message}`, "name another file", cause);
  }
}

function proveBlocks(agent: string, key: string, reply: ProveReply, { out, vectors }: ProveOptions): Block[] {
  const { hash, proof, state } = reply;
  const nodes = proof.nodes.reduce((sum, node) => sum + Buffer.byteLength(node, "base64"), 0);
  const more = vectors === true ? " --vectors" : "";
  return [
    foundLine(key, hash === null ? { present: false } : { present: true, hash, size: reply.size }, state),
    dim(`proof: ${proof.nodes.length} tree nodes, ${size(nodes)}`),
    out === undefined
      ? dim(`to a file: vlinder prove ${agent} ${key} --at ${short(state)}${more} --out FILE`)
      : dim(`check it anywhere: vlinder prove ${agent} ${key} --at ${state}${more} --check ${out}`),
  ];
}

function foundLine(key: string, proven: Proven, commit: Hash): (string | Span)[] {
  if (!proven.present) return [key, red(" is not there"), "   at ", shortHash(commit)];
  return [key, green(" is "), shortHash(proven.hash), `   ${size(proven.size)}   at `, shortHash(commit)];
}

/** Nothing but the file and what was typed. @throws invalid, when the proof does not hold */
async function checked(
  context: Context,
  agent: string,
  keyText: string,
  file: string,
  { at, vectors, out }: ProveOptions,
): Promise<Outcome> {
  if (out !== undefined) throw new UsageError("--check and --out are two commands", "leave one out");
  const trusted = at === undefined ? null : trustedHash(at);
  const proof = parsed(await smallContentOf(context, file === "-" ? file : `@${file}`));
  const commit = trusted ?? commitOfProof(proof);
  const space = vectors === true ? "vectors" : "kv";
  const proven = checkProof(proof, { key: parseKey(keyText), space, trusted: { commit } });
  const of = (proof as { readonly commit: { readonly agent: string } }).commit.agent;
  if (of !== agent) throw invalid(`the proof is about the agent "${of}"`, { remedy: `check it with that name` });
  const found = proven.present ? proven : { present: false, hash: null, size: 0 };
  return {
    json: { ok: true, state: commit, trusted: trusted !== null, ...found },
    people: () => [
      [green("the proof holds: "), ...foundLine(keyText, proven, commit)],
      ...(trusted === null ? [dim(`if you trust the commit ${commit}; name it with --at to have it compared`)] : []),
    ],
  };
}

function trustedHash(text: string): Hash {
  try {
    return parseHash(text);
  } catch (cause) {
    throw new UsageError("--at with --check is the whole hash of a commit", "give all 64 hex digits", cause);
  }
}

function parsed(bytes: Uint8Array): unknown {
  try {
    return parseJson(Buffer.from(bytes).toString("utf8"));
  } catch (cause) {
    throw invalid("the proof is not JSON", { remedy: "name the file that `vlinder prove … --out FILE` wrote", cause });
  }
}
