import type { Hash } from "@vlinder/protocol";

/**
 * Fetches what is asked for in order, and the next one while the last is being worked on: never more than one ahead, so that
 * few packs are held in memory.
 */
export class PackFeed<Pack> {
  readonly #fetch: (name: Hash) => Promise<Pack>;
  #ahead: { readonly name: Hash; readonly pack: Promise<Pack> } | null = null;

  constructor(fetch: (name: Hash) => Promise<Pack>) {
    this.#fetch = fetch;
  }

  /** @param next what is likely to be asked for after it */
  async take(name: Hash, next: Hash | undefined): Promise<Pack> {
    if (this.#ahead?.name !== name) await this.settle();
    const ahead = this.#ahead;
    this.#ahead = null;
    const pack = await (ahead?.name === name ? ahead.pack : this.#fetch(name));
    if (next !== undefined) {
      const coming = this.#fetch(next);
      // Who takes it is told; when nobody does, it does not matter.
      coming.catch(() => undefined);
      this.#ahead = { name: next, pack: coming };
    }
    return pack;
  }

  /** Waits for what is under way, so that nothing is asked of a bucket that is closed. */
  async settle(): Promise<void> {
    const ahead = this.#ahead;
    this.#ahead = null;
    await ahead?.pack.catch(() => undefined); // nobody asked for it
  }
}
