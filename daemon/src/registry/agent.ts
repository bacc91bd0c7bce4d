import type { AgentName, Contract, Hash, VlinderError } from "@vlinder/protocol";
import type { Manifest } from "./manifest.ts";
import type { Registration } from "./registration.ts";
import type { ResolvedUri } from "./storage-uri.ts";

/** What the registry asks of a state engine. */
export interface EngineLike {
  /**
   * On empty storage the first commits, with this contract; else a `contract` commit on main when it
   * differs. `state` is main's head. @throws invalid: what is stored can't go with it
   */
  setContract(contract: Contract): Promise<{ readonly state: Hash; readonly changed: boolean }>;
  /** Of main's head; null when there is none. */
  contract(): Promise<Contract | null>;
  close(): Promise<void>;
}

/** What the registry asks of a vector index. */
export interface VectorsLike {
  close(): Promise<void>;
}

export interface OpenedAgent<Engine extends EngineLike, Vectors extends VectorsLike> {
  readonly engine: Engine;
  /** Null exactly when the spec has none. */
  readonly vectors: Vectors | null;
}

export interface OpenSpec {
  readonly name: AgentName;
  readonly objects: ResolvedUri;
  readonly vectors: ResolvedUri | null;
  /** The agent's folder in the home. */
  readonly folder: string;
}

/**
 * Opens an agent's storage, making files and schema where there are none; durable when it resolves.
 * Injected, so that the registry knows no backend.
 */
export type OpenAgent<Engine extends EngineLike, Vectors extends VectorsLike> = (
  spec: OpenSpec,
) => Promise<OpenedAgent<Engine, Vectors>>;

/** An agent that is open and can be served. */
export interface Agent<Engine extends EngineLike, Vectors extends VectorsLike> extends OpenedAgent<Engine, Vectors> {
  readonly name: AgentName;
  readonly registration: Registration;
  /** Null for one that came by clone. */
  readonly manifest: Manifest | null;
  readonly storage: { readonly objects: ResolvedUri; readonly vectors: ResolvedUri | null };
}

/** A registered agent as `status` sees it: either `agent` or `error` is set. */
export interface RegistryItem<Engine extends EngineLike, Vectors extends VectorsLike> {
  readonly name: AgentName;
  /** Null when its record is damaged. */
  readonly registration: Registration | null;
  readonly agent: Agent<Engine, Vectors> | null;
  /** Why it can't be served. */
  readonly error: VlinderError | null;
}
