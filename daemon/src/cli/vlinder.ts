import { run } from "./run.ts";

for (const stream of [process.stdout, process.stderr]) {
  // Who reads has read enough, like `vlinder log todo | head`: that is no error.
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit();
    throw error;
  });
}
const { stdin, stdout, stderr, env } = process;
process.exitCode = await run(process.argv.slice(2), { stdin, stdout, stderr, env });
