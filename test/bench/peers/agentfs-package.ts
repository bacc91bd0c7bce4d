import { npmPackage } from "../tools/npm-package.ts";

export const AGENTFS_VERSION = "0.6.4";

interface AgentFS {
  readonly kv: {
    set(key: string, value: unknown): Promise<void>;
    get(key: string): Promise<unknown>;
  };
}

interface Module {
  readonly AgentFS: { open(options: { readonly path: string }): Promise<AgentFS> };
}

/** @throws an Error that says why it can't be had */
export function loadAgentFS(): Promise<Module> {
  return npmPackage("agentfs-sdk", AGENTFS_VERSION, "dist/index_node.js");
}

/** It stores JSON: as many bytes of text. */
export function textOf(value: Uint8Array): string {
  return Buffer.from(value.buffer, value.byteOffset, value.length / 2).toString("hex");
}
