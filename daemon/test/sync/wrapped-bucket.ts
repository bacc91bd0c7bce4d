import type { Bucket } from "../../src/sync/buckets/bucket.ts";

/** The bucket with some of its methods in place of its own. */
export function wrapped(bucket: Bucket, instead: Partial<Bucket> = {}): Bucket {
  return {
    uri: bucket.uri,
    get: (path, range) => bucket.get(path, range),
    put: (files) => bucket.put(files),
    putFile: (path, source, memory) => bucket.putFile(path, source, memory),
    sizes: (paths) => bucket.sizes(paths),
    list: (prefix) => bucket.list(prefix),
    delete: (paths) => bucket.delete(paths),
    revision: () => bucket.revision(),
    close: () => bucket.close(),
    ...instead,
  };
}
