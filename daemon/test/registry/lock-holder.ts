// A child process of home.test.ts: takes the lock of the home that it is given, says how it went, and stays.
import { openHome } from "../../src/registry/home.ts";
import { lockHome } from "../../src/registry/home-lock.ts";

const home = await openHome(process.argv[2] as string);
try {
  await lockHome(home);
  process.stdout.write("locked\n");
} catch (error) {
  process.stdout.write(`${(error as { code: string }).code}\n`);
}
setInterval(() => {}, 1000);
