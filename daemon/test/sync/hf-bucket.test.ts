import { describe, test } from "vitest";
import { BUCKET_CHECKS } from "../../src/sync/buckets/conformance.ts";
import { startHub, URI } from "./hub.ts";

/** A bucket as a whole, and a part of one that others use, too. */
for (const uri of [URI, `${URI}/machines/all`]) {
  describe(`a bucket of ${uri}`, () => {
    for (const { name, run } of BUCKET_CHECKS) {
      test(name, async () => {
        const { open } = await startHub({ manners: { page: 3 } });
        await run(await open(uri));
      });
    }
  });
}
