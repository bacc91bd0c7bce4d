import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { memoryOf } from "../io.ts";

/**
 * The official client of Hugging Face by itself: what it takes of memory to upload the files of a folder and to download them again, in commits
 * as large as a push makes them, and with the garbage collected after each, as a push does.
 *
 * `push` and `pull` answer with its peak so far above what the process had before the client was loaded, in bytes.
 */
const [hubUrl, accessToken, name, folder, commitBytes] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
];
const idle = memoryOf(process.pid).now;
const { createRepo, downloadFile, uploadFiles } = await import("@huggingface/hub");
const { collectGarbage } = await import("../../../daemon/src/sync/buckets/collect-garbage.ts");
const repo = { type: "bucket", name } as const;

async function push(): Promise<void> {
  await createRepo({ hubUrl, accessToken, repo, private: true });
  let commit: { path: string; content: Blob }[] = [];
  let bytes = 0;
  const send = async (): Promise<void> => {
    if (commit.length === 0) return;
    await uploadFiles({ hubUrl, accessToken, repo, files: commit });
    commit = [];
    bytes = 0;
    await collectGarbage();
  };
  for (const file of readdirSync(folder)) {
    const { size } = statSync(join(folder, file));
    if (bytes + size > Number(commitBytes)) await send();
    commit.push({ path: file, content: new Blob([readFileSync(join(folder, file))]) });
    bytes += size;
  }
  await send();
}

async function pull(): Promise<void> {
  for (const path of readdirSync(folder)) {
    const blob = await downloadFile({ hubUrl, accessToken, repo, path });
    const size = (await blob?.arrayBuffer())?.byteLength;
    if (size !== statSync(join(folder, path)).size) throw new Error(`${path} came back with ${size} bytes`);
  }
}

process.on("message", (message: "push" | "pull") => {
  void (message === "push" ? push() : pull()).then(() => process.send?.(memoryOf(process.pid).peak - idle));
});
process.send?.("ready");
