import { BucketFiles, type Change, checkPath, fileEntry } from "./bucket-files.ts";
import { type Call, json, jsonBody, objectOf, onlyQuery, type Reply, type Route } from "./call.ts";
import type { Cas } from "./cas.ts";
import { entryNotFound, insist, Refusal, repoNotFound } from "./refusal.ts";
import type { HubUser, Tokens } from "./tokens.ts";
import { treePage } from "./tree-page.ts";

const MAX_BATCH = 100;
const MAX_PATHS = 1000;
const BUCKET = "/api/buckets/([\\w.-]+)/([\\w.-]+)";
const XET_INFO = "application/vnd.xet-fileinfo+json";

/** What the Hub is not known to do one way or the other, or does at its own pace. A test may change it at any time. */
export interface HubManners {
  /** Entries of a page of a list. */
  page: number;
  /** Lists show the bucket as it was so many changes ago. */
  listLag: number;
  /** `paths-info` does, too. */
  infoLag: number;
  /** Whether deleting a file that is not there is counted as failed (422) or passed over. */
  missingDelete: "fail" | "pass";
}

export interface HubRoutesOptions {
  readonly tokens: Tokens;
  readonly cas: Cas;
  readonly manners: HubManners;
  readonly url: () => string;
}

/** The Hub's own API, as far as it concerns buckets. */
export class HubRoutes {
  readonly buckets = new Map<string, BucketFiles>();
  readonly #options: HubRoutesOptions;

  constructor(options: HubRoutesOptions) {
    this.#options = options;
  }

  readonly routes: readonly Route[] = [
    this.#route("POST bucket", "POST", BUCKET, (call) => this.#create(call)),
    this.#route("DELETE bucket", "DELETE", BUCKET, (call) => {
      onlyQuery(call);
      this.buckets.delete(this.#bucket(call, "write").id);
      return { status: 200 };
    }),
    this.#route("GET bucket", "GET", BUCKET, (call) => this.#info(call)),
    this.#route("GET xet-read-token", "GET", `${BUCKET}/xet-read-token`, (call) => this.#token(call, "read")),
    this.#route("GET xet-write-token", "GET", `${BUCKET}/xet-write-token`, (call) => this.#token(call, "write")),
    this.#route("POST batch", "POST", `${BUCKET}/batch`, (call) => this.#batch(call)),
    this.#route("POST paths-info", "POST", `${BUCKET}/paths-info`, (call) => this.#pathsInfo(call)),
    this.#route("GET tree", "GET", `${BUCKET}/tree(?:/(.+))?`, (call) =>
      treePage(call, this.#bucket(call, "read"), this.#options.manners, this.#options.url()),
    ),
    this.#route("GET resolve", "GET", "/buckets/([\\w.-]+)/([\\w.-]+)/resolve/(.+)", (call) => this.#resolve(call)),
    this.#route("HEAD resolve", "HEAD", "/buckets/([\\w.-]+)/([\\w.-]+)/resolve/(.+)", (call) => this.#resolve(call)),
  ];

  #route(name: string, method: string, path: string, handle: (call: Call) => Reply): Route {
    return { name, method, path: new RegExp(`^${path}$`), handle };
  }

  /** The bucket that a call names, when its token may do that. A private one is hidden from strangers. @throws Refusal */
  #bucket(call: Call, right: "read" | "write"): BucketFiles {
    const user = this.#options.tokens.user(call.headers.authorization);
    const bucket = this.buckets.get(call.params.slice(0, 2).join("/"));
    if (bucket === undefined || (bucket.isPrivate && !owns(user, bucket.id))) throw repoNotFound();
    if (right === "write" && (user.role !== "write" || !owns(user, bucket.id))) throw forbidden();
    return bucket;
  }

  #create(call: Call): Reply {
    onlyQuery(call);
    const user = this.#options.tokens.user(call.headers.authorization);
    const { visibility } = jsonBody(call, "visibility", "resourceGroupId", "private", "region");
    insist(visibility === undefined || visibility === "private" || visibility === "public", "an unknown visibility");
    const id = call.params.slice(0, 2).join("/");
    if (user.role !== "write" || !owns(user, id)) throw forbidden();
    if (this.buckets.has(id)) throw new Refusal(409, "You already created this bucket repo");
    this.buckets.set(id, new BucketFiles(id, visibility === "private"));
    return json({ url: `${this.#options.url()}/buckets/${id}`, id });
  }

  #info(call: Call): Reply {
    onlyQuery(call, "expand[]");
    const bucket = this.#bucket(call, "read");
    const files = bucket.list();
    return json({
      id: bucket.id,
      private: bucket.isPrivate,
      createdAt: bucket.created,
      updatedAt: bucket.updatedAt,
      size: files.reduce((sum, { size }) => sum + size, 0),
      totalFiles: files.length,
    });
  }

  #token(call: Call, scope: "read" | "write"): Reply {
    onlyQuery(call);
    const { id } = this.#bucket(call, scope);
    return json({ ...this.#options.tokens.issue(scope, id), casUrl: `${this.#options.url()}/cas` });
  }

  #batch(call: Call): Reply {
    onlyQuery(call);
    const bucket = this.#bucket(call, "write");
    insist(call.headers["content-type"] === "application/x-ndjson", "the content type is not application/x-ndjson");
    const lines = call.body.toString().split("\n");
    insist(lines.length <= MAX_BATCH, `${lines.length} operations in one batch`);
    const read = lines.map((line) => this.#operation(bucket, line));
    const paths = read.map(({ path }) => path);
    insist(new Set(paths).size === paths.length, "a path twice in one batch");
    const failed = read.flatMap(({ path, error }) => (error === undefined ? [] : [{ path, error }]));
    const changes = read.flatMap(({ change }) => change ?? []);
    bucket.change(changes);
    const succeeded = read.length - failed.length;
    const body = { success: failed.length === 0, processed: read.length, succeeded, failed };
    return json(body, {}, failed.length === 0 ? 200 : 422);
  }

  #operation(bucket: BucketFiles, line: string): { path: string; change?: Change; error?: string } {
    const { type, path, ...rest } = objectOf(line, ["type", "path", "xetHash", "mtime", "contentType"]);
    checkPath(path);
    if (type === "deleteFile") {
      insist(Object.keys(rest).length === 0, "deleteFile with other fields than a path");
      const isThere = bucket.get(path) !== undefined;
      if (isThere) return { path, change: { type, path } };
      return this.#options.manners.missingDelete === "pass" ? { path } : { path, error: "no such file" };
    }
    const { xetHash } = rest;
    insist(type === "addFile", `operation ${String(type)}`);
    insist(typeof xetHash === "string" && /^[0-9a-f]{64}$/.test(xetHash), "xetHash is no hash");
    const file = this.#options.cas.file(xetHash);
    if (file === undefined) return { path, error: `xet hash ${xetHash} is not known` };
    return { path, change: { type, path, xetHash, size: file.size } };
  }

  #pathsInfo(call: Call): Reply {
    onlyQuery(call);
    const bucket = this.#bucket(call, "read");
    const { paths, expand } = jsonBody(call, "paths", "expand");
    insist(expand === undefined || typeof expand === "boolean", "expand is no boolean");
    insist(Array.isArray(paths) && paths.length > 0 && paths.length <= MAX_PATHS, "not 1 to 1000 paths");
    for (const path of paths as unknown[]) checkPath(path);
    const { infoLag } = this.#options.manners;
    const files = bucket.list(infoLag);
    const found = new Map(files.map((file) => [file.path, file]));
    const isFolder = (path: string): boolean => files.some((file) => file.path.startsWith(`${path}/`));
    return json(
      (paths as string[]).flatMap((path) => {
        const file = found.get(path);
        if (file !== undefined) return [fileEntry(file)];
        return isFolder(path) ? [{ type: "directory", path, size: 0 }] : [];
      }),
    );
  }

  #resolve(call: Call): Reply {
    onlyQuery(call);
    const bucket = this.#bucket(call, "read");
    const path = decodeURIComponent(call.params[2] as string);
    const file = bucket.get(path);
    if (file === undefined) throw entryNotFound(path);
    insist(call.headers.accept?.includes(XET_INFO) === true || call.method === "HEAD", "only with Xet");
    const url = this.#options.url();
    const links = [
      `<${url}/cas/v1/reconstructions/${file.xetHash}>; rel="xet-reconstruction-info"`,
      `<${url}/api/buckets/${bucket.id}/xet-read-token>; rel="xet-auth"`,
    ];
    const headers = {
      "Content-Type": XET_INFO,
      "X-Linked-Size": String(file.size),
      "X-Xet-Hash": file.xetHash,
      ETag: `"${file.xetHash}"`,
      Link: links.join(", "),
    };
    return { status: 200, headers, body: JSON.stringify({ hash: file.xetHash, size: file.size }) };
  }
}

function owns(user: HubUser, id: string): boolean {
  return id.startsWith(`${user.name}/`);
}

function forbidden(): Refusal {
  return new Refusal(403, "Forbidden: you must use a token with write access to this bucket");
}
