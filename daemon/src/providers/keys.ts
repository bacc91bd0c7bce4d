import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { invalid, VlinderError } from "@vlinder/protocol";
import type { ProviderConfig } from "../registry/provider-config.ts";

/** A key, and where it was found. */
export interface FoundKey {
  readonly key: string;
  readonly from: KeySource;
  /** The file or the variable. */
  readonly place: string;
}
export type KeySource = "file" | "stored" | "systemd" | "environment";

/** Where keys are looked for. */
export interface KeyPlaces {
  /** The folder in the home where `vlinder provider set` puts them. */
  readonly folder: string;
  readonly env: NodeJS.ProcessEnv;
}

const LONGEST = 4096;

/** The file of a key that is kept in the home. */
export function storedKeyFile(folder: string, provider: string): string {
  return join(folder, `${provider}.key`);
}

/**
 * A provider's key, read anew each time: a key that was exchanged is good at once. Where config.toml says where it is,
 * only there; else what `vlinder provider set` stored, a credential of systemd, the usual variable, in this order.
 * Null: there is none. @throws unavailable: the place that config.toml names has none; denied: others may read the file;
 * invalid: what is there is no key
 */
export async function findKey(provider: ProviderConfig, { folder, env }: KeyPlaces): Promise<FoundKey | null> {
  const { name, keyEnv, keyFile, usualEnv } = provider;
  if (keyFile !== null) {
    const found = await ofFile(keyFile, "file", true);
    if (found !== null) return found;
    throw noKey(
      name,
      `there is no file ${keyFile}`,
      "write the key to it with mode 0600, or correct key_file in config.toml",
    );
  }
  if (keyEnv !== null) {
    const found = ofVariable(keyEnv, env);
    if (found !== null) return found;
    throw noKey(
      name,
      `${keyEnv} is not in the daemon's environment`,
      `set ${keyEnv} where vlinderd is started, and restart it`,
    );
  }
  const stored = await ofFile(storedKeyFile(folder, name), "stored", true);
  if (stored !== null) return stored;
  const credentials = env["CREDENTIALS_DIRECTORY"] ?? "";
  // systemd itself sees to who may read these.
  const systemd = credentials === "" ? null : await ofFile(join(credentials, name), "systemd", false);
  if (systemd !== null) return systemd;
  return usualEnv === null ? null : ofVariable(usualEnv, env);
}

/** The same, for a call. Null: the provider takes calls without one. @throws unavailable: there is none */
export async function requireKey(provider: ProviderConfig, places: KeyPlaces): Promise<FoundKey | null> {
  const found = await findKey(provider, places);
  if (found !== null || !provider.needsKey) return found;
  const usual = provider.usualEnv === null ? "" : `, or start vlinderd with ${provider.usualEnv}`;
  throw noKey(provider.name, "none was found", `\`vlinder provider set ${provider.name}\`${usual}`);
}

/** A text as a key: one line of printable ASCII. @throws invalid; the text is in no message */
export function parseKeyText(text: string, place: string): string {
  const key = text.trim();
  if (key.length <= LONGEST && /^[\x21-\x7e]+$/.test(key)) return key;
  throw invalid(`${place} holds no key`, {
    remedy: `a key is one line of at most ${LONGEST} printable characters without spaces`,
    details: { place },
  });
}

function ofVariable(name: string, env: NodeJS.ProcessEnv): FoundKey | null {
  const text = env[name] ?? "";
  return text === "" ? null : { key: parseKeyText(text, name), from: "environment", place: name };
}

async function ofFile(path: string, from: KeySource, checked: boolean): Promise<FoundKey | null> {
  try {
    // Not blocking: a named pipe would keep us waiting.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = await file.stat();
      if (!stats.isFile()) throw invalid(`${path} is not a file`, { remedy: "name a file that holds the key" });
      if (checked) refuseShared(path, stats.mode, stats.uid);
      if (stats.size > LONGEST + 2) parseKeyText("", path);
      return { key: parseKeyText(await file.readFile("utf8"), path), from, place: path };
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof VlinderError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    throw new VlinderError("unavailable", `the key in ${path} can't be read: ${message}`, {
      cause: error,
      retryable: false,
      details: { path },
      remedy: "make it a file that this user owns, with mode 0600",
    });
  }
}

/** On the file that is open, so that it can't be exchanged in between. */
function refuseShared(path: string, mode: number, owner: number): void {
  const refuse = (why: string, remedy: string): VlinderError =>
    new VlinderError("denied", `the key in ${path} is not used: ${why}`, { remedy, details: { path } });
  const rights = mode & 0o777;
  if ((rights & 0o077) !== 0) {
    throw refuse(
      `others may read it (mode ${rights.toString(8).padStart(4, "0")})`,
      `chmod 600 ${path}; and as others may have read it, exchange the key`,
    );
  }
  const self = process.getuid?.();
  if (self !== undefined && owner !== self) {
    throw refuse("it belongs to another user", `chown it to the user that vlinderd runs as: ${self}`);
  }
}

function noKey(provider: string, why: string, remedy: string): VlinderError {
  return new VlinderError("unavailable", `no key for the provider "${provider}": ${why}`, {
    retryable: false,
    remedy,
    details: { provider },
  });
}
