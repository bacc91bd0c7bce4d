import { figure } from "./figures.ts";
import type { Sizes } from "./sizes.ts";

/** How to run it, for docs/bench.md. */
export const HOW = `\`npm run bench\` needs nothing set up: it starts the daemons, the peers and their servers on temporary folders
and removes them. \`-- --quick\` takes smaller states and fewer rounds, \`-- --only NAME\` one section, \`-- --json\` prints
it all for a program, \`-- --write\` writes this file. Lines and limits are in one list, \`test/bench/limits.ts\`.`;

/** What was measured, and how. */
export const METHOD = ({ small, middle, large, commits, back }: Sizes): string => `## How it is measured

**In turns.** Every round measures each participant for a short while; a first round is not counted. A ratio is taken
within each round, and the median of the rounds is shown, so that a machine that is slow for a while is slow for both
sides. p50 and p99 are medians of the rounds' too. Values are random bytes and no two are equal; keys are overwritten at
random unless it says otherwise.

**Sizes.** Over NATS the states have ${figure(small)}, ${figure(middle)} and ${figure(large)} keys; the limits are about
${figure(middle)} keys and values of 256 B. They are filled in large batches beforehand. The long history has
${figure(commits)} commits that put a new key each, in an order that is not that of the keys; "${figure(back)} back" is
a commit within 1,500 of that place, and no commit there is touched twice where it says "each at another commit".

**vlinder** runs as it is installed: \`vlinderd\` in a process of its own with \`durability = "disk"\`, its own nats-server,
SQLite files on disk. A put is answered when it is durable, and is a commit with a root hash of its own. *agent-runtime* is the
SDK in this process; it sends what is in flight at the same time in shared messages. The plain client sends one message an operation.

**The engine alone** is linked into this process: 64 puts a transaction, each with a commit of its own, SHA-256 of
the values included. *One transaction at a time*: the next is not asked for before the last is on disk. *Two under way*: the
next is computed while the last is being written. The limits are about the second: a user of the engine who wants throughput
drives it so, and the raw table, whose API blocks, is at its fastest in turn: both are at their best with transactions of
the same size. That the transactions had 64 puts was counted, not assumed. Growth is that of the file with an empty log.

**Raw inserts**: better-sqlite3, WAL, \`synchronous=FULL\`, the same values with their SHA-256 under a unique index in a
table with integer row ids; 64 a transaction. **Flat snapshot**: the same database settings; each put stores the value, a JSON map
of all keys to hashes, and a commit.

**JetStream KV**: the same nats-server program and version as the daemon's, in processes of their own, file storage,
history 1. *Default sync* writes to the page cache and fsyncs every two minutes; *sync always* is \`sync_interval: always\`. Both
start from the same filled files. The client is the \`nats\` package, one message an operation. Where this machine's
nats-server is older than 2.10, a newer one of the same Debian mirror is unpacked into \`.tools\`, for the daemon as well.

**NATS echo**: a process that answers with as many bytes as vlinder's plain reply has, to requests as large: the floor.

**Redis**: \`appendonly yes\`, \`appendfsync\` as named, no snapshots, no rewriting of the file; the client \`@redis/client\`
pipelines what is in flight. **AgentFS**: \`agentfs-sdk\` in this process as it sets itself up; it stores JSON, so values are
as many bytes of text. Both are fetched into \`.tools\` when they are first needed, and left out, with the reason, where they can't be had.

**Written to disk** is what the kernel counts for the writing process (\`write_bytes\`), over the puts of 64 in flight.

**Buckets**: a folder on the same disk; the strict Hub of the tests, with its Xet CAS, in this process; OpenStack Swift with its S3
API, in memory, behind a relay that counts. 1 GB is 1 GiB of values, half in files of 4 MiB that do not compress and half in notes
of 1 to 12 kB that do. What is changed is one value, by random bytes: 1 MiB in place of a file, 1 KiB in place of a note.

**sha256sum** is the program, over files with the same bytes, its start included. **Memory** is the largest resident size
of the daemon since its start. **Start-up** is counted from the spawning of the process.`;
