/** What is copied at once costs little. */
const SMALL = 1 << 20;
const SLICE = 256 << 10;

/**
 * A request whose body `fetch` does not copy: of bytes it makes a copy of its own, which for a pack is 16 MiB and more, for each that is
 * under way. A stream is taken as it comes, and with its length told it is sent like bytes, not in chunks. It can be read once:
 * to be made for each try.
 */
export function uncopied(init: RequestInit): RequestInit {
  const { body } = init;
  if (!(body instanceof Uint8Array) || body.length <= SMALL) return init;
  const headers = new Headers(init.headers);
  headers.set("content-length", String(body.length));
  let at = 0;
  const stream = new ReadableStream<Uint8Array>(
    {
      pull(controller): void {
        controller.enqueue(body.subarray(at, at + SLICE));
        at += SLICE;
        if (at >= body.length) controller.close();
      },
    },
    { highWaterMark: 0 },
  );
  return { ...init, headers, body: stream, duplex: "half" } as RequestInit;
}
