import { setTimeout as sleep } from "node:timers/promises";
import { createHash } from "node:crypto";
import { S3Client, type S3ClientConfig } from "@aws-sdk/client-s3";
import { defaultProvider } from "@aws-sdk/credential-provider-node";
import { HttpFetch } from "./http-fetch.ts";
import type { HttpLimits } from "./http-limits.ts";
import { isAboutCredentials, s3Code, s3Error } from "./s3-error.ts";
import { S3Handler } from "./s3-handler.ts";
import type { S3Address } from "./s3-uri.ts";

/** Tries of what `HttpFetch` does not repeat. */
const TRIES = 4;
/** That is: two writers at once, a body that the service or we waited for in vain, a redirect that led nowhere. */
const AGAIN: ReadonlySet<string> = new Set([
  "ConditionalRequestConflict",
  "OperationAborted",
  "RequestTimeout",
  "BrokenBody",
  "BadRedirect",
]);
const PAUSE = 200;

/**
 * The SDK's client with the settings that every service understands, and what it lacks: patience (`HttpFetch`),
 * redirects (`S3Handler`), and credentials that are read again when the service no longer takes them.
 */
export class S3Connection {
  readonly #uri: string;
  readonly #address: S3Address;
  readonly #http: HttpFetch;
  readonly #pause: number;
  #client: S3Client;
  #closed = false;

  constructor(uri: string, address: S3Address, limits: Partial<HttpLimits> = {}) {
    this.#uri = uri;
    this.#address = address;
    this.#http = new HttpFetch({ uri, limits, isIdempotent: () => true });
    this.#pause = limits.pause ?? PAUSE;
    this.#client = this.#connect();
  }

  /**
   * Runs `work`, again where that may help; all that is asked here may be asked twice. Errors that `expects` takes are
   * thrown as the SDK has them, at once.
   *
   * @throws unavailable, denied
   */
  async send<T>(
    doing: string,
    work: (client: S3Client) => Promise<T>,
    expects: (error: unknown) => boolean = () => false,
  ): Promise<T> {
    let hasReread = false;
    for (let n = 1; ; n++) {
      const client = this.#client;
      try {
        return await work(client);
      } catch (error) {
        if (expects(error)) throw error;
        const failure = s3Error(error, doing, this.#uri);
        if (this.#closed || n >= TRIES) throw failure;
        if (!hasReread && isAboutCredentials(error)) {
          hasReread = true;
          if (await this.#hasOtherCredentials(client)) continue;
          throw failure;
        }
        // The SDK has taken the service's time from the reply: the next request is signed by it.
        const isClock = s3Code(error) === "RequestTimeTooSkewed" && n === 1;
        if (!isClock && !AGAIN.has(String(failure.details["code"]))) throw failure;
        await sleep(this.#pause * n * (0.5 + Math.random()));
      }
    }
  }

  close(): void {
    this.#closed = true;
    this.#http.close();
    this.#client.destroy();
  }

  #connect(): S3Client {
    const { endpoint, region } = this.#address;
    const config: S3ClientConfig = {
      region,
      credentials: defaultProvider({ ignoreCache: true }),
      // Checksums only where S3 demands them: others' services refuse the trailers. Every file is verified by its hash.
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
      expectContinueHeader: false,
      // A URI means the same place on each machine, whatever AWS_ENDPOINT_URL says there.
      ignoreConfiguredEndpointUrls: true,
      maxAttempts: 1,
      requestHandler: new S3Handler(this.#uri, this.#http.fetch),
      ...(endpoint === undefined ? {} : { endpoint, forcePathStyle: true }),
    };
    const client = new S3Client(config);
    client.middlewareStack.add(
      (next, { commandName }) =>
        (args) => {
          const { request } = args as { request?: { headers: Record<string, string>; body?: unknown } };
          if (commandName === "DeleteObjectsCommand" && request !== undefined) withMd5(request);
          return next(args);
        },
      { step: "build", priority: "low", name: "contentMd5" },
    );
    return client;
  }

  /** Reads the credentials anew; whether they differ from what `used` had. */
  async #hasOtherCredentials(used: S3Client): Promise<boolean> {
    if (this.#client !== used) return true;
    const before = await fingerprint(used);
    const fresh = this.#connect();
    const after = await fingerprint(fresh);
    if (after === undefined || after === before) {
      fresh.destroy();
      return false;
    }
    if (this.#client === used) this.#client = fresh;
    return true;
  }
}

/** Of a delete of many, services demand a checksum; this is the one that all of them know. */
function withMd5(request: { headers: Record<string, string>; body?: unknown }): void {
  for (const name of Object.keys(request.headers)) {
    if (/^x-amz-(sdk-)?checksum-/i.test(name)) delete request.headers[name];
  }
  request.headers["content-md5"] = createHash("md5").update(String(request.body)).digest("base64");
}

async function fingerprint(client: S3Client): Promise<string | undefined> {
  try {
    const { accessKeyId, secretAccessKey, sessionToken } = await client.config.credentials();
    return JSON.stringify([accessKeyId, secretAccessKey, sessionToken]);
  } catch {
    return undefined;
  }
}
