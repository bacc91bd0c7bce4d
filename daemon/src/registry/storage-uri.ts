import { lstat, readlink, realpath } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { type ErrorOptions, invalid } from "@vlinder/protocol";
import { shown, unknownName } from "./toml-check.ts";

/** Schemes that need no package. */
export const BUILT_IN_SCHEMES: readonly string[] = ["sqlite", "memory"];

/** Files of the agent's folder that are no storage's. */
const RESERVED: ReadonlySet<string> = new Set(["registration.json", "sync.db", "history.db"]);

/** Files beside a database: one that is named so would be another one's log, say. */
const COMPANION = /-(?:wal|shm|journal|kept)$/;

/** A storage URI, checked, with its place found. */
export interface ResolvedUri {
  readonly scheme: string;
  /** `sqlite`: the file, absolute and real. */
  readonly path: string | null;
  /** `memory`: the name. */
  readonly name: string | null;
  /**
   * The same storage always has the same text, and a file in the agent's folder has a relative one, so
   * that a home can be moved. May hold a password.
   */
  readonly uri: string;
  /** For people and logs: without password. */
  readonly shown: string;
}

export interface UriRules {
  /** The agent's folder in the home; it need not be there yet. */
  readonly folder: string;
  /** Absolute folders outside it that are allowed, of config.toml. */
  readonly outside: readonly string[];
  /** What `default` stands for. */
  readonly fallback: string;
  /** Schemes of [backends] in config.toml. */
  readonly schemes: readonly string[];
}

/**
 * Checks a URI's scheme alone; returns what is wrong with it, null when nothing. `default` is
 * allowed wherever a URI is.
 */
export function unknownScheme(uri: string, schemes: readonly string[]): string | null {
  if (uri === "default") return null;
  const allowed = [...BUILT_IN_SCHEMES, ...schemes];
  const scheme = /^([^:/?#]*):\/\//.exec(uri)?.[1];
  if (scheme === undefined) {
    return `${shown(uri)} is no storage URI; write "default" or one like "sqlite://objects.db"`;
  }
  if (allowed.includes(scheme)) return null;
  return unknownName("scheme", scheme, allowed);
}

/** Finds where a storage URI leads. Makes nothing. @throws invalid; denied: outside of what is allowed */
export async function resolveUri(given: string, rules: UriRules): Promise<ResolvedUri> {
  const uri = given === "default" ? rules.fallback : given;
  const wrong = uri === "default" ? '"default" can\'t be its own default' : unknownScheme(uri, rules.schemes);
  if (wrong !== null) throw invalid(wrong, { remedy: "other schemes are a line in [backends] of config.toml" });
  const at = uri.indexOf("://");
  const scheme = uri.slice(0, at);
  const rest = uri.slice(at + 3);
  if (scheme === "sqlite") return resolveFile(uri, rest, rules);
  if (scheme === "memory") {
    if (!/^[A-Za-z0-9._-]{1,64}$/.test(rest)) throw bad(uri, "a name is 1 to 64 of A-Z, a-z, 0-9, . _ and -");
    return { scheme, path: null, name: rest, uri, shown: uri };
  }
  if (rest === "") throw bad(uri, "something must follow the scheme");
  return { scheme, path: null, name: null, uri, shown: withoutPassword(uri) };
}

/**
 * A relative path lies in the agent's folder, whatever symbolic links say; any other place needs
 * config.toml's permission. The URI is no URL: `new URL` would take the first segment for a host.
 */
async function resolveFile(uri: string, path: string, rules: UriRules): Promise<ResolvedUri> {
  // oxlint-disable-next-line no-control-regex
  if (/[\x00-\x1f\x7f?#]/.test(path)) throw bad(uri, "a path has no control characters, ? or #");
  if (path === "" || path.endsWith("/") || path === "." || path.endsWith("/.") || path.endsWith("..")) {
    throw bad(uri, "it must name a file");
  }
  if (COMPANION.test(path))
    throw bad(uri, "a name that ends in -wal, -shm, -journal or -kept is that of a file beside a database");
  if (path === ":memory:") throw bad(uri, "for storage that is gone at exit write memory://<name>");
  if (path.startsWith("~")) throw bad(uri, "~ means nothing here; write the absolute path");
  const folder = await realTarget(rules.folder);
  const target = await realTarget(resolve(folder, path));
  const inside = within(folder, target);
  if (inside && RESERVED.has(relative(folder, target))) throw bad(uri, "this file is vlinder's own");
  if (inside) {
    const canonical = `sqlite://${relative(folder, target)}`;
    return { scheme: "sqlite", path: target, name: null, uri: canonical, shown: canonical };
  }
  let permitted = false;
  for (const one of rules.outside) permitted ||= within(await realTarget(one), target);
  if (!permitted) {
    const where = isAbsolute(path) ? "" : ` (${target})`;
    throw invalid(`${shown(uri)}${where} is outside of the agent's folder, ${folder}`, {
      remedy: `use a plain file name, or allow it in config.toml: [storage] outside = [${JSON.stringify(dirname(target))}]`,
      details: { uri, path: target, folder },
    });
  }
  const canonical = `sqlite://${target}`;
  return { scheme: "sqlite", path: target, name: null, uri: canonical, shown: canonical };
}

/** Where a path leads through all symbolic links, also when nothing is there yet. */
async function realTarget(path: string, links = 0): Promise<string> {
  if (links > 40) throw invalid(`${path} is a circle of symbolic links`, { remedy: "correct the links" });
  try {
    return await realpath(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT") throw invalid(`${path} can't be used: ${message}`, { remedy: "name another", cause: error });
  }
  const parent = dirname(path);
  if (parent === path) return path;
  const here = join(await realTarget(parent, links + 1), basename(path));
  // A link to nothing would be followed when the file is made.
  return (await isLink(here)) ? realTarget(resolve(dirname(here), await readlink(here)), links + 1) : here;
}

async function isLink(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isSymbolicLink();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

function within(folder: string, path: string): boolean {
  return path.startsWith(folder.endsWith(sep) ? folder : folder + sep);
}

/** A URI for people and logs. */
export function withoutPassword(uri: string): string {
  return uri
    .replace(/^([^:]+:\/\/[^/?#@]*?):[^/?#]*@/, "$1:***@")
    .replace(/([?&](?:password|token|secret)=)[^&#]*/gi, "$1***");
}

function bad(uri: string, why: string): Error {
  const options: ErrorOptions = { remedy: "write one like sqlite://objects.db or memory://name", details: { uri } };
  return invalid(`${shown(uri)} is no storage URI: ${why}`, options);
}
