import { createHash, randomBytes } from "node:crypto";
import { errorReply, type S3Reply, xmlReply } from "./s3-reply.ts";

const MAX_PARTS = 10_000;

interface Upload {
  readonly key: string;
  readonly parts: Map<number, { readonly bytes: Buffer; readonly etag: string }>;
}

const md5 = (bytes: Buffer): Buffer => createHash("md5").update(bytes).digest();

/** Multipart uploads as S3 describes them: what the documentation forbids is refused, with the code that it names. */
export class S3Uploads {
  /** All parts but the last have as much. */
  minimum = 5 << 20;
  readonly #uploads = new Map<string, Upload>();

  /** Uploads that were neither completed nor aborted: the account pays for their parts. */
  get unfinished(): number {
    return this.#uploads.size;
  }

  get parts(): number {
    return [...this.#uploads.values()].reduce((sum, { parts }) => sum + parts.size, 0);
  }

  /** As a rule of the bucket does after some days. */
  expire(): void {
    this.#uploads.clear();
  }

  create(bucket: string, key: string, body: Buffer): S3Reply {
    if (body.length > 0) return errorReply(400, "MalformedXML", "a body where none belongs");
    const id = randomBytes(12).toString("base64url");
    this.#uploads.set(id, { key: `${bucket}/${key}`, parts: new Map() });
    return xmlReply(200, "InitiateMultipartUploadResult", { Bucket: bucket, Key: key, UploadId: id });
  }

  put(bucket: string, key: string, query: URLSearchParams, body: Buffer): S3Reply {
    const upload = this.#of(bucket, key, query);
    if (upload === undefined) return noSuchUpload();
    const number = query.get("partNumber") ?? "";
    if (!/^[1-9]\d{0,4}$/.test(number) || Number(number) > MAX_PARTS) {
      return errorReply(400, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive");
    }
    const etag = `"${md5(body).toString("hex")}"`;
    upload.parts.set(Number(number), { bytes: body, etag });
    return { status: 200, headers: { etag } };
  }

  /** The whole file, or why there is none. The upload stays when it is refused. */
  join(bucket: string, key: string, query: URLSearchParams, body: Buffer): Buffer | S3Reply {
    const upload = this.#of(bucket, key, query);
    if (upload === undefined) return noSuchUpload();
    const named = partsIn(body.toString());
    if (named === null) return errorReply(400, "MalformedXML", "The XML you provided was not well-formed");
    if (named.some(({ number }, i) => i > 0 && number <= (named[i - 1]?.number ?? 0))) {
      return errorReply(400, "InvalidPartOrder", "The list of parts was not in ascending order.");
    }
    const parts = named.map(({ number, etag }) => {
      const part = upload.parts.get(number);
      return part?.etag === etag ? part.bytes : undefined;
    });
    if (parts.includes(undefined)) {
      return errorReply(400, "InvalidPart", "One or more of the specified parts could not be found.");
    }
    if (parts.slice(0, -1).some((part) => (part?.length ?? 0) < this.minimum)) {
      return errorReply(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size");
    }
    return Buffer.concat(parts as Buffer[]);
  }

  end(query: URLSearchParams): void {
    this.#uploads.delete(query.get("uploadId") ?? "");
  }

  abort(bucket: string, key: string, query: URLSearchParams): S3Reply {
    if (this.#of(bucket, key, query) === undefined) return noSuchUpload();
    this.end(query);
    return { status: 204 };
  }

  #of(bucket: string, key: string, query: URLSearchParams): Upload | undefined {
    const upload = this.#uploads.get(query.get("uploadId") ?? "");
    return upload?.key === `${bucket}/${key}` ? upload : undefined;
  }
}

export const completed = (bucket: string, key: string, bytes: Buffer): S3Reply =>
  xmlReply(200, "CompleteMultipartUploadResult", {
    Bucket: bucket,
    Key: key,
    // No hash of the file's bytes: nobody may take it for one.
    ETag: `"${md5(md5(bytes)).toString("hex")}-2"`,
  });

/** Null: not the document that the operation wants. */
function partsIn(xml: string): { number: number; etag: string }[] | null {
  const inner =
    /^(?:<\?xml[^>]*\?>)?<CompleteMultipartUpload xmlns="http:\/\/s3\.amazonaws\.com\/doc\/2006-03-01\/">(.+)<\/CompleteMultipartUpload>$/s.exec(
      xml,
    )?.[1];
  if (inner === undefined) return null;
  const one =
    /<Part>(?:<ETag>([^<]+)<\/ETag><PartNumber>(\d+)<\/PartNumber>|<PartNumber>(\d+)<\/PartNumber><ETag>([^<]+)<\/ETag>)<\/Part>/g;
  if (inner.replaceAll(one, "") !== "") return null;
  return [...inner.matchAll(one)].map(([, before, after, first, second]) => ({
    number: Number(after ?? first),
    etag: (before ?? second ?? "").replaceAll("&quot;", '"'),
  }));
}

const noSuchUpload = (): S3Reply =>
  errorReply(404, "NoSuchUpload", "The specified upload does not exist. It may have been aborted or completed.");
