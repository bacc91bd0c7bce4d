import { describe, test } from "vitest";
import { IS_LONG } from "../../../test/harness/long.ts";
import { BUCKET_CHECKS } from "../../src/sync/buckets/conformance.ts";
import { startHub, URI } from "./hub.ts";

/** A bucket as a whole; in the long run also a folder of one. */
for (const uri of IS_LONG ? [URI, `${URI}/machines/all`] : [URI]) {
  describe(`a bucket of ${uri}`, () => {
    for (const { name, run } of BUCKET_CHECKS) {
      test(name, async () => {
        const { open } = await startHub({ manners: { page: 3 } });
        await run(await open(uri));
      });
    }
  });
}
