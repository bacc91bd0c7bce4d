import type { ServerResponse } from "node:http";

/** Hears of each piece of a response's body as it is given to the connection. */
export function hearBody(response: ServerResponse, hear: (piece: Buffer) => void): void {
  const [write, end] = [response.write.bind(response), response.end.bind(response)] as ((
    ...rest: unknown[]
  ) => never)[];
  const heard =
    (next: (...rest: unknown[]) => never) =>
    (piece: unknown, ...rest: unknown[]): never => {
      if (typeof piece === "string" || piece instanceof Uint8Array) hear(Buffer.from(piece as string));
      return next(piece, ...rest);
    };
  response.write = heard(write as (...rest: unknown[]) => never);
  response.end = heard(end as (...rest: unknown[]) => never);
}
