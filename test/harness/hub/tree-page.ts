import { type BucketFiles, fileEntry, type HubEntry, type HubFile } from "./bucket-files.ts";
import { type Call, json, onlyQuery, type Reply } from "./call.ts";
import { insist } from "./refusal.ts";

/** A page of a list. The path is a prefix of names, not a folder; the next page's URL is in `Link`. @throws Refusal */
export function treePage(
  call: Call,
  bucket: BucketFiles,
  manners: { readonly page: number; readonly listLag: number },
  url: string,
): Reply {
  onlyQuery(call, "recursive", "expand", "cursor", "limit");
  const { query } = call;
  const isRecursive = flag(query, "recursive");
  flag(query, "expand");
  const limit = Number(query.get("limit") ?? manners.page);
  insist(Number.isInteger(limit) && limit > 0 && limit <= 5000, `limit ${query.get("limit")}`);
  const prefix = decodeURIComponent(call.params[2] ?? "");
  const found = bucket.list(manners.listLag).filter(({ path }) => path.startsWith(prefix));
  const entries = isRecursive ? found.map(fileEntry) : folded(found, prefix);
  const after = cursorOf(query.get("cursor"));
  const rest = entries.filter(({ path }) => path > after);
  const page = rest.slice(0, limit);
  const last = page.at(-1);
  if (rest.length === page.length || last === undefined) return json(page);
  const next = new URLSearchParams(query);
  next.set("cursor", Buffer.from(`after:${last.path}`).toString("base64url"));
  return json(page, { Link: `<${url}${call.path}?${next.toString()}>; rel="next"` });
}

/** Files and folders directly below. */
function folded(files: readonly HubFile[], prefix: string): HubEntry[] {
  const below = prefix === "" || prefix.endsWith("/") ? prefix.length : prefix.length + 1;
  const entries = new Map<string, HubEntry>();
  for (const file of files) {
    const slash = file.path.indexOf("/", below);
    if (slash === -1) entries.set(file.path, fileEntry(file));
    else {
      const path = file.path.slice(0, slash);
      entries.set(path, { type: "directory", path, size: 0, uploadedAt: file.uploadedAt });
    }
  }
  return [...entries.values()].toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

function cursorOf(text: string | null): string {
  if (text === null) return "";
  const [, path] = /^after:(.+)$/s.exec(Buffer.from(text, "base64url").toString()) ?? [];
  insist(path !== undefined, "not a cursor of this list");
  return path;
}

function flag(query: URLSearchParams, name: string): boolean {
  const text = query.get(name) ?? "false";
  insist(text === "true" || text === "false", `${name}=${text}`);
  return text === "true";
}
