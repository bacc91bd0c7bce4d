import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { commit, deleteFiles, listFiles, pathsInfo, uploadFiles } from "@huggingface/hub";

/** For the library itself: vlinder's own code hides what is asked here. */
export interface Access {
  readonly repo: { readonly type: "bucket"; readonly name: string };
  readonly accessToken: string;
  readonly hubUrl: string;
}

export interface Fact {
  readonly question: string;
  readonly answer: string;
}

const PATIENCE = 60_000;

/** What no document says about the service, asked of the service, in files below `folder`, which are deleted at the end. */
export async function* facts(access: Access, folder: string): AsyncGenerator<Fact> {
  const made = new Set<string>();
  const put = async (...names: string[]): Promise<void> => {
    const files = names.map((name) => ({ path: `${folder}/${name}`, content: new Blob([randomBytes(100)]) }));
    for (const { path } of files) made.add(path);
    await uploadFiles({ ...access, files });
  };
  const list = async (path: string): Promise<string[]> => {
    const found: string[] = [];
    for await (const entry of listFiles({ ...access, recursive: true, path })) {
      if (entry.type === "file") found.push(entry.path.slice(folder.length + 1));
    }
    return found.toSorted();
  };
  try {
    await put("lag/a");
    const shown = async (): Promise<boolean> => (await list(`${folder}/lag`)).includes("lag/a");
    yield { question: "a list shows a new file after", answer: await until(shown) };
    await put("lag/b");
    const known = async (): Promise<boolean> =>
      (await pathsInfo({ ...access, paths: [`${folder}/lag/b`] })).length === 1;
    yield { question: "paths-info knows a new file after", answer: await until(known) };

    await put("name/1", "name/10", "name/1x/y");
    const byName = await answered(() => list(`${folder}/name/1`));
    yield { question: "a list of name/1, with name/1, name/10, name/1x/y there", answer: byName };
    yield { question: "a list of a folder that is not there", answer: await answered(() => list(`${folder}/none`)) };
    const folders = pathsInfo({ ...access, paths: [`${folder}/name`] });
    yield {
      question: "paths-info of a folder",
      answer: await answered(async () => (await folders).map(({ type }) => type)),
    };

    const missing = [`${folder}/none`, `${folder}/lag/a`];
    const deletion = await answered(async () => void (await deleteFiles({ ...access, paths: missing })));
    const left = (await pathsInfo({ ...access, paths: [`${folder}/lag/a`] })).length === 0 ? "gone" : "still there";
    yield { question: "deleting a missing file and another", answer: `${deletion}; the other is ${left}` };

    const many = Array.from({ length: 101 }, (_, i) => ({ operation: "delete" as const, path: `${folder}/lag/${i}` }));
    const batch = await answered(async () => void (await commit({ ...access, title: "", operations: many })));
    yield { question: "a batch of 101 deletions", answer: batch };
    yield { question: "the bucket's updatedAt", answer: await answered(async () => [await updatedAt(access)]) };
  } finally {
    const paths = [...made];
    const there = (await pathsInfo({ ...access, paths })).map(({ path }) => path);
    if (there.length > 0) await deleteFiles({ ...access, paths: there });
  }
}

async function updatedAt({ accessToken, hubUrl, repo }: Access): Promise<string> {
  const headers = { Authorization: `Bearer ${accessToken}` };
  const response = await fetch(`${hubUrl}/api/buckets/${repo.name}`, { headers });
  const { updatedAt: time } = (await response.json()) as { updatedAt?: unknown };
  const quota = response.headers.get("ratelimit");
  return `${JSON.stringify(time)}${quota === null ? "" : `, RateLimit ${quota}`}`;
}

async function until(isSo: () => Promise<boolean>): Promise<string> {
  const start = performance.now();
  for (;;) {
    const waited = performance.now() - start;
    if (await isSo()) return `${Math.round(waited)} ms`;
    if (waited > PATIENCE) return `not within ${PATIENCE} ms`;
    await sleep(100);
  }
}

async function answered(work: () => Promise<readonly string[] | void>): Promise<string> {
  try {
    return (await work())?.join(", ") ?? "fine";
  } catch (error) {
    const status = (error as { statusCode?: unknown }).statusCode;
    return typeof status === "number" ? `refused with ${status}` : "refused";
  }
}
