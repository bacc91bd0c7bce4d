import { type Contract, encodeContract, type Hash, invalid, sha256 } from "@vlinder/protocol";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import type { EngineLike, OpenAgent, OpenSpec, VectorsLike } from "../../src/registry/agent.ts";

/** Records what the registry asks of storage; keeps a contract in the file that the URI names, or in memory. */
export class FakeStorage {
  readonly calls: string[] = [];
  /** Called before each step; may throw. */
  fault: (step: string) => void = () => {};
  readonly openAgent: OpenAgent<FakeEngine, FakeVectors> = async (spec) => {
    this.step(`open ${spec.name} ${spec.objects.uri} ${spec.vectors?.uri ?? "-"}`);
    if (spec.objects.path !== null && !existsSync(spec.objects.path)) writeFileSync(spec.objects.path, "");
    if (spec.vectors !== null && spec.vectors.path !== null) writeFileSync(spec.vectors.path, "index");
    return { engine: new FakeEngine(this, spec), vectors: spec.vectors === null ? null : new FakeVectors(this, spec) };
  };
  step(what: string): void {
    this.fault(what);
    this.calls.push(what);
  }
}

export class FakeEngine implements EngineLike {
  readonly #storage: FakeStorage;
  readonly #spec: OpenSpec;
  #memory = "";
  closed = false;
  constructor(storage: FakeStorage, spec: OpenSpec) {
    this.#storage = storage;
    this.#spec = spec;
  }
  get #text(): string {
    return this.#spec.objects.path === null ? this.#memory : readFileSync(this.#spec.objects.path, "utf8");
  }
  async contract(): Promise<Contract | null> {
    if (this.closed) throw new Error("the engine is closed");
    return this.#text === "" ? null : (JSON.parse(this.#text) as Contract);
  }
  async setContract(contract: Contract): Promise<{ state: Hash; changed: boolean }> {
    const before = await this.contract();
    this.#storage.step(`contract ${this.#spec.name}`);
    const fixed = before?.vectors?.dimension;
    if (fixed !== undefined && contract.vectors !== undefined && contract.vectors.dimension !== fixed) {
      throw invalid(`vectors have ${fixed} dimensions`);
    }
    const text = encodeContract(contract).toString("utf8");
    const changed = text !== this.#text;
    if (this.#spec.objects.path === null) this.#memory = text;
    else writeFileSync(this.#spec.objects.path, text);
    return { state: sha256(text), changed };
  }
  async close(): Promise<void> {
    this.closed = true;
    this.#storage.step(`close ${this.#spec.name}`);
  }
}

export class FakeVectors implements VectorsLike {
  readonly #storage: FakeStorage;
  readonly #spec: OpenSpec;
  constructor(storage: FakeStorage, spec: OpenSpec) {
    this.#storage = storage;
    this.#spec = spec;
  }
  async close(): Promise<void> {
    this.#storage.step(`close vectors ${this.#spec.name}`);
  }
}
