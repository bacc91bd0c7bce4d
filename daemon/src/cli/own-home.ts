import { type Home, homePath, openHome } from "../registry/home.ts";
import { lockHome } from "../registry/home-lock.ts";

/** Work on the home itself while no daemon has it; meanwhile none can start on it. @throws conflict */
export async function withOwnHome<Result>(work: (home: Home) => Promise<Result>): Promise<Result> {
  // As in the daemon: whatever is made from here on is this user's alone.
  process.umask(0o077);
  const home = await openHome(homePath());
  const lock = await lockHome(home);
  try {
    return await work(home);
  } finally {
    lock.release();
  }
}
