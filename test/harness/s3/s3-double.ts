import { createHash, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { deleteKeys, errorReply, type S3Reply, sendReply, xmlReply } from "./s3-reply.ts";
import { completed, S3Uploads } from "./s3-uploads.ts";
import { type Keys, signatureProblem, signedRegion } from "./sigv4.ts";

/** What is counted apart, and what a fault is told. */
export type Route =
  | "PUT bucket"
  | "PUT object"
  | "GET object"
  | "HEAD object"
  | "DELETE object"
  | "DELETE many"
  | "LIST"
  | "POST upload"
  | "PUT part"
  | "POST complete"
  | "DELETE upload"
  | "GET elsewhere";

export interface Asked {
  /** Counted from 1 over this route. */
  readonly n: number;
  readonly route: Route;
  readonly key: string;
}

/** `before`: nothing was done; `after`: it was, and the reply is lost; `truncate`: half of the reply's body. */
export type Fault = S3Reply | "drop before" | "drop after" | "truncate" | "hang";

export interface Count {
  requests: number;
  /** Bytes of bodies. */
  up: number;
  down: number;
}

const FORBIDDEN =
  /^x-amz-(trailer|sdk-checksum-algorithm|copy-source.*|checksum-.*|decoded-content-length|acl|tagging|meta-.*)$/;

/**
 * A strict S3 service with the ways of Hugging Face's gateway: it verifies each signature, knows ListObjectsV2 only, refuses checksum
 * trailers and `aws-chunked`, and answers a GET with a redirect to another origin, which refuses whoever brings a signature
 * along. What a client did that it must not is in `offences`.
 */
export class S3Double {
  readonly keys = new Map<string, Keys>();
  readonly buckets = new Map<string, Map<string, Buffer>>();
  readonly counts = new Map<Route, Count>();
  readonly offences: string[] = [];
  /** Of the path, as a namespace: "" or "/me". */
  base = "";
  region = "us-east-1";
  redirects = true;
  conditional: "honoured" | "unknown" | "ignored" = "honoured";
  /** The same of the end of a multipart upload; undefined: as of a put. */
  conditionalUploads: "honoured" | "unknown" | "ignored" | undefined;
  readonly uploads = new S3Uploads();
  /** The most bytes of bodies that came at once. */
  atOnce = 0;
  #coming = 0;
  hasBatchDelete = true;
  pageSize = 50;
  /** Milliseconds that its clock is ahead. */
  clock = 0;
  /** What lists show of a bucket instead of what it holds. */
  listed: ReadonlyMap<string, Buffer> | undefined;
  fault: (asked: Asked) => Fault | undefined = () => undefined;
  fired = 0;
  readonly #service: Server;
  readonly #elsewhere: Server;
  readonly #links = new Map<string, Buffer>();

  private constructor() {
    const serve = (work: (request: IncomingMessage, body: Buffer, response: ServerResponse) => void) =>
      createServer((request, response) => {
        const parts: Buffer[] = [];
        const length = Number(request.headers["content-length"] ?? 0);
        this.#coming += length;
        this.atOnce = Math.max(this.atOnce, this.#coming);
        response.once("close", () => (this.#coming -= length));
        request.on("data", (part: Buffer) => parts.push(part));
        request.on("end", () => work(request, Buffer.concat(parts), response));
      });
    this.#service = serve((request, body, response) => this.#serve(request, body, response));
    this.#elsewhere = serve((request, _, response) => this.#serveElsewhere(request, response));
  }

  static async start(...keys: Keys[]): Promise<S3Double> {
    const double = new S3Double();
    for (const one of keys) double.keys.set(one.accessKeyId, one);
    for (const server of [double.#service, double.#elsewhere]) {
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    }
    return double;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#service.address() as AddressInfo).port}${this.base}`;
  }

  count(route: Route): Count {
    return this.counts.get(route) ?? { requests: 0, up: 0, down: 0 };
  }

  async stop(): Promise<void> {
    for (const server of [this.#service, this.#elsewhere]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  #serve(request: IncomingMessage, body: Buffer, response: ServerResponse): void {
    const { method = "", url = "" } = request;
    const [path = "", search = ""] = url.split("?");
    const query = new URLSearchParams(search);
    const [, bucket = "", key = ""] = /^\/([^/]*)\/?(.*)$/.exec(decodeURIComponent(path.slice(this.base.length))) ?? [];
    const route = routeOf(method, key, query);
    const answer = (): S3Reply => {
      const refused = this.#refused(request, body, query, route);
      return (
        refused ??
        (path.startsWith(`${this.base}/`)
          ? this.#answer(request, body, { bucket, key, query, route })
          : missing("NoSuchBucket"))
      );
    };
    this.#reply(response, method, { route, key, up: body.length }, answer);
  }

  #serveElsewhere(request: IncomingMessage, response: ServerResponse): void {
    const own = Object.keys(request.headers).filter((name) => name === "authorization" || name.startsWith("x-amz-"));
    const token = /^\/([0-9a-f]+)\?/.exec(request.url ?? "")?.[1] ?? "";
    this.#reply(response, request.method ?? "", { route: "GET elsewhere", key: "", up: 0 }, () => {
      if (own.length > 0) {
        this.offences.push(`${own.join(", ")} went to where the redirect led`);
        return errorReply(400, "InvalidArgument", "Only one auth mechanism allowed");
      }
      const bytes = this.#links.get(token);
      return bytes === undefined
        ? errorReply(403, "AccessDenied", "Request has expired")
        : part(bytes, request.headers.range);
    });
  }

  #reply(
    response: ServerResponse,
    method: string,
    { route, key, up }: { route: Route; key: string; up: number },
    answer: () => S3Reply,
  ): void {
    const count = this.counts.get(route) ?? { requests: 0, up: 0, down: 0 };
    this.counts.set(route, count);
    count.requests++;
    count.up += up;
    const fault = this.fault({ n: count.requests, route, key });
    if (fault !== undefined) this.fired++;
    if (fault === "hang") return;
    if (fault === "drop before") return void response.destroy();
    const isReply = typeof fault === "object";
    const made = isReply ? fault : answer();
    if (fault === "drop after") return void response.destroy();
    const date = new Date(Date.now() + this.clock).toUTCString();
    count.down += sendReply(response, method, { ...made, headers: { date, ...made.headers } }, fault === "truncate");
  }

  #refused(request: IncomingMessage, body: Buffer, query: URLSearchParams, route: Route): S3Reply | undefined {
    const { method = "", url = "", headers } = request;
    const forbidden = Object.keys(headers).filter((name) => FORBIDDEN.test(name));
    const chunked = [headers["content-encoding"], headers["transfer-encoding"]].some((one) => one?.includes("chunked"));
    if (forbidden.length > 0 || chunked || String(headers["x-amz-content-sha256"]).startsWith("STREAMING")) {
      this.offences.push(`${route}: ${chunked ? "chunked" : forbidden.join(", ")}`);
      return errorReply(501, "NotImplemented", "A header you provided implies functionality that is not implemented");
    }
    if (route === "LIST" && query.get("list-type") !== "2")
      return errorReply(501, "NotImplemented", "ListObjectsV2 only");
    const problem = signatureProblem(
      { method, url, headers, body },
      (id) => this.keys.get(id),
      Date.now() + this.clock,
    );
    if (problem !== null) {
      const token = headers["x-amz-security-token"];
      const status = problem.code === "AuthorizationHeaderMalformed" || problem.code === "InvalidToken" ? 400 : 403;
      // As Amazon's do, with what nobody should see in a log.
      const known = {
        AWSAccessKeyId: /Credential=([^/]+)/.exec(headers.authorization ?? "")?.[1] ?? "",
        "Token-0": token ?? "",
      };
      return errorReply(status, problem.code, problem.message, known);
    }
    if (signedRegion(headers) === this.region) return undefined;
    return errorReply(400, "AuthorizationHeaderMalformed", `the region is wrong; expecting '${this.region}'`, {
      Region: this.region,
    });
  }

  #answer(
    request: IncomingMessage,
    body: Buffer,
    at: { bucket: string; key: string; query: URLSearchParams; route: Route },
  ): S3Reply {
    const { bucket, key, query, route } = at;
    const files = this.buckets.get(bucket);
    if (route === "PUT bucket") {
      if (files !== undefined) return errorReply(409, "BucketAlreadyOwnedByYou", "You already own it");
      this.buckets.set(bucket, new Map());
      return { status: 200 };
    }
    if (files === undefined) return missing("NoSuchBucket");
    const bytes = files.get(key);
    switch (route) {
      case "PUT object":
        return this.#put(files, key, body, request.headers["if-none-match"]);
      case "GET object":
        return bytes === undefined ? missing("NoSuchKey") : this.#get(bytes, request.headers.range);
      case "HEAD object":
        if (bytes === undefined) return { status: 404 };
        return { status: 200, headers: { "content-length": String(bytes.length), etag: etag(bytes) } };
      case "DELETE object":
        files.delete(key);
        return { status: 204 };
      case "DELETE many":
        return this.#deleteMany(files, body, String(request.headers["content-md5"]));
      case "POST upload":
        return this.uploads.create(bucket, key, body);
      case "PUT part":
        return this.uploads.put(bucket, key, query, body);
      case "POST complete":
        return this.#complete(files, at, body, request.headers["if-none-match"]);
      case "DELETE upload":
        return this.uploads.abort(bucket, key, query);
      default:
        return this.#list(this.listed ?? files, query);
    }
  }

  #complete(
    files: Map<string, Buffer>,
    { bucket, key, query }: { bucket: string; key: string; query: URLSearchParams },
    body: Buffer,
    condition: string | undefined,
  ): S3Reply {
    const whole = this.uploads.join(bucket, key, query, body);
    if (!Buffer.isBuffer(whole)) return whole;
    const refused = refusal(this.conditionalUploads ?? this.conditional, condition, files.has(key));
    if (refused !== undefined) return refused;
    this.uploads.end(query);
    files.set(key, whole);
    return completed(bucket, key, whole);
  }

  #put(files: Map<string, Buffer>, key: string, body: Buffer, condition: string | undefined): S3Reply {
    const refused = refusal(this.conditional, condition, files.has(key));
    if (refused !== undefined) return refused;
    files.set(key, body);
    return { status: 200, headers: { etag: etag(body) } };
  }

  #get(bytes: Buffer, range: string | undefined): S3Reply {
    if (!this.redirects) return part(bytes, range);
    const token = randomBytes(8).toString("hex");
    this.#links.set(token, bytes);
    const { port } = this.#elsewhere.address() as AddressInfo;
    return { status: 302, headers: { location: `http://127.0.0.1:${port}/${token}?Signature=x` } };
  }

  #deleteMany(files: Map<string, Buffer>, body: Buffer, md5: string): S3Reply {
    if (!this.hasBatchDelete) return errorReply(501, "NotImplemented", "not implemented");
    if (md5 !== createHash("md5").update(body).digest("base64")) return errorReply(400, "BadDigest", "Content-MD5");
    for (const key of deleteKeys(body.toString())) files.delete(key);
    return xmlReply(200, "DeleteResult", {});
  }

  #list(files: ReadonlyMap<string, Buffer>, query: URLSearchParams): S3Reply {
    const prefix = query.get("prefix") ?? "";
    const after = Buffer.from(query.get("continuation-token") ?? "", "base64").toString();
    const isUrl = query.get("encoding-type") === "url";
    const size = Math.min(this.pageSize, Number(query.get("max-keys") ?? 1000));
    const keys = [...files.keys()].filter((key) => key.startsWith(prefix)).toSorted();
    const rest = after === "" ? keys : keys.filter((key) => key > after);
    const page = rest.slice(0, size);
    const isTruncated = rest.length > page.length;
    return xmlReply(200, "ListBucketResult", {
      Prefix: prefix,
      KeyCount: page.length,
      MaxKeys: size,
      IsTruncated: isTruncated,
      ...(isUrl ? { EncodingType: "url" } : {}),
      ...(isTruncated ? { NextContinuationToken: Buffer.from(page.at(-1) ?? "").toString("base64") } : {}),
      Contents: page.map((key) => ({
        Key: isUrl ? encodeURIComponent(key).replaceAll("%20", "+") : key,
        Size: files.get(key)?.length ?? 0,
      })),
    });
  }
}

function refusal(
  conditional: S3Double["conditional"],
  condition: string | undefined,
  isThere: boolean,
): S3Reply | undefined {
  if (condition !== undefined && conditional === "unknown") {
    return errorReply(501, "NotImplemented", "A header you provided implies functionality that is not implemented");
  }
  if (condition !== "*" || conditional !== "honoured" || !isThere) return undefined;
  return errorReply(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold");
}

function routeOf(method: string, key: string, query: URLSearchParams): Route {
  if (method === "POST" && query.has("delete")) return "DELETE many";
  if (method === "POST" && query.has("uploads")) return "POST upload";
  if (query.has("uploadId")) {
    if (method === "POST") return "POST complete";
    if (method === "DELETE") return "DELETE upload";
    if (query.has("partNumber")) return "PUT part";
  }
  if (key === "") return method === "PUT" ? "PUT bucket" : "LIST";
  return `${method as "PUT" | "GET" | "HEAD" | "DELETE"} object`;
}

function part(bytes: Buffer, range: string | undefined): S3Reply {
  const match = /^bytes=(\d+)-(\d+)$/.exec(range ?? "");
  if (match === null) return { status: 200, body: bytes };
  const [start, end] = [Number(match[1]), Math.min(Number(match[2]), bytes.length - 1)];
  if (start >= bytes.length) return errorReply(416, "InvalidRange", "The requested range is not satisfiable");
  return {
    status: 206,
    body: bytes.subarray(start, end + 1),
    headers: { "content-range": `bytes ${start}-${end}/${bytes.length}` },
  };
}

const missing = (code: "NoSuchBucket" | "NoSuchKey"): S3Reply =>
  errorReply(404, code, `The specified ${code.slice(6).toLowerCase()} does not exist`);

const etag = (bytes: Buffer): string => `"${createHash("md5").update(bytes).digest("hex")}"`;
