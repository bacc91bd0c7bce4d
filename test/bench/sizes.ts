/** How large the states are that things are measured on. */
export interface Sizes {
  readonly small: number;
  readonly middle: number;
  readonly large: number;
  /** Small commits, each of a new key, of the long history. */
  readonly commits: number;
  /** How far back the past is that is read, in commits. */
  readonly back: number;
  readonly forks: number;
}

export const FULL: Sizes = {
  small: 1_000,
  middle: 100_000,
  large: 1_000_000,
  commits: 1_000_000,
  back: 100_000,
  forks: 1_000,
};

export const QUICK: Sizes = {
  small: 1_000,
  middle: 20_000,
  large: 100_000,
  commits: 10_000,
  back: 5_000,
  forks: 200,
};
