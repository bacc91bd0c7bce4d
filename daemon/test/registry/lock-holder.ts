// A child process of home.test.ts: takes the lock of the home that it is given, says how it went, and stays.
import { openHome } from "../../src/registry/home.ts";
import { lockHome } from "../../src/registry/home-lock.ts";

const home = await openHome(process.argv[2] as string);
try {
  await lockHome(home);
  // Nobody holds what it returned: the lock must not go with it.
  for (let round = 0; round < 3; round++) {
    await new Promise((resolve) => setImmediate(resolve));
    globalThis.gc?.();
  }
  process.stdout.write("locked\n");
} catch (error) {
  process.stdout.write(`${(error as { code: string }).code}\n`);
}
setInterval(() => {}, 1000);
