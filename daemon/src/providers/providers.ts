import { isDeepStrictEqual } from "node:util";
import { invalid, VlinderError } from "@vlinder/protocol";
import type { ProviderConfig, ProviderTable } from "../registry/provider-config.ts";
import { findKey, type FoundKey, type KeyPlaces, requireKey } from "./keys.ts";

/** The providers as they are configured now, and their keys. */
export class Providers {
  readonly #places: KeyPlaces;
  #table: ProviderTable;

  constructor(table: ProviderTable, places: KeyPlaces) {
    this.#table = table;
    this.#places = places;
  }

  get table(): ProviderTable {
    return this.#table;
  }

  /** Takes what config.toml says now; whether it is something else. */
  replace(table: ProviderTable): boolean {
    if (isDeepStrictEqual(table, this.#table)) return false;
    this.#table = table;
    return true;
  }

  /** @throws invalid, with those that there are */
  named(name: string): ProviderConfig {
    const found = this.#find(name);
    if (found !== null) return found;
    throw invalid(`there is no provider ${JSON.stringify(name)}`, {
      details: { provider: name, providers: Object.keys(this.#table) },
      remedy: `there are ${Object.keys(this.#table).join(", ")}; others are [providers.NAME] in config.toml`,
    });
  }

  /** The one that an agent declares. @throws unavailable: config.toml has it no more */
  declared(name: string): ProviderConfig {
    const found = this.#find(name);
    if (found !== null) return found;
    throw new VlinderError("unavailable", `config.toml has no provider "${name}" any more`, {
      retryable: false,
      details: { provider: name },
      remedy: `write [providers.${name}] again and run \`vlinder reload\`, or declare another one in agent.toml`,
    });
  }

  /** Null: there is none. @throws as `findKey` */
  key(provider: ProviderConfig): Promise<FoundKey | null> {
    return findKey(provider, this.#places);
  }

  /** For a call; null: the provider takes calls without one. @throws unavailable, denied, invalid */
  requiredKey(provider: ProviderConfig): Promise<FoundKey | null> {
    return requireKey(provider, this.#places);
  }

  #find(name: string): ProviderConfig | null {
    return Object.hasOwn(this.#table, name) ? (this.#table[name] ?? null) : null;
  }
}
