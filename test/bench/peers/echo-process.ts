import { connect } from "nats";

/** Answers every request on `echo.<bytes>` with so many bytes: the least that a request over NATS can cost. */
const connection = await connect({ servers: process.argv[2] as string, noAsyncTraces: true });
const replies = new Map<string, Uint8Array>();
connection.subscribe("echo.*", {
  callback: (_error, message) => {
    let reply = replies.get(message.subject);
    if (reply === undefined) {
      reply = new Uint8Array(Number(message.subject.slice(5)));
      replies.set(message.subject, reply);
    }
    message.respond(reply);
  },
});
await connection.flush();
process.on("disconnect", () => process.exit());
process.send?.("ready");
