import { constants } from "node:fs";
import { copyFile, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { figure } from "../figures.ts";
import { databaseBytes } from "../io.ts";
import { BIG_BYTES, BIG_KEYS, bigKeyAt, keyAt, Values } from "../values.ts";
import { EngineStore } from "./engine-store.ts";
import { type LongState, makeLong } from "./long-state.ts";
import type { Place, StateFile } from "./state-file.ts";

/** The states that sections measure on, each made once, when it is first needed. */
export class States {
  readonly #place: Place;
  readonly #byKeys = new Map<number, Promise<StateFile>>();
  #long: Promise<LongState> | null = null;

  constructor(place: Place) {
    this.#place = place;
  }

  /** So many keys with values of 256 B, and 1,000 of 4 KiB; few commits. */
  withKeys(keys: number): Promise<StateFile> {
    let state = this.#byKeys.get(keys);
    if (state === undefined) {
      state = this.#fill(keys);
      this.#byKeys.set(keys, state);
    }
    return state;
  }

  /** A copy to write to. */
  async copyOf(keys: number, path: string): Promise<StateFile> {
    const state = await this.withKeys(keys);
    await mkdir(dirname(path), { recursive: true });
    await copyFile(state.path, path, constants.COPYFILE_FICLONE);
    return { ...state, path };
  }

  long(): Promise<LongState> {
    this.#long ??= makeLong(this.#place, "long", this.#place.sizes.commits);
    return this.#long;
  }

  async #fill(keys: number): Promise<StateFile> {
    const agent = `keys-${keys}`;
    const path = join(await this.#place.folder(), `${agent}.db`);
    const store = await EngineStore.open(path, agent);
    const say = (done: number): void => {
      if (done % 50_000 === 0) this.#place.progress(`a state of ${figure(keys)} keys: ${figure(done)}`);
    };
    await store.fill(
      Array.from({ length: keys }, (_, n) => keyAt(n)),
      new Values(),
      say,
    );
    await store.fill(
      Array.from({ length: BIG_KEYS }, (_, n) => bigKeyAt(n, keys)),
      new Values(BIG_BYTES),
      () => {},
    );
    await store.close();
    if (databaseBytes(`${path}-wal`) > 0) throw new Error(`${path} was closed, and has a log`);
    return { agent, path, keys };
  }
}
