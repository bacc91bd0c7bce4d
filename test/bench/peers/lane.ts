/** Keys and values of one state. */
export interface Lane {
  put(key: string, value: Uint8Array): Promise<unknown>;
  /** Rejects when there is no such key. */
  get(key: string): Promise<unknown>;
}

/** The lane of each size of state, made when it is first asked for. */
export class Lanes {
  readonly #make: (keys: number) => Promise<Lane>;
  readonly #made = new Map<number, Promise<Lane>>();

  constructor(make: (keys: number) => Promise<Lane>) {
    this.#make = make;
  }

  at(keys: number): Promise<Lane> {
    let lane = this.#made.get(keys);
    if (lane === undefined) {
      lane = this.#make(keys);
      this.#made.set(keys, lane);
    }
    return lane;
  }
}
