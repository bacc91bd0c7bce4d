import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { VlinderError } from "@vlinder/protocol";
import { systemCode } from "./file-error.ts";

export interface HfToken {
  /** A secret. */
  readonly token: string;
  /** Where it was found, for errors. */
  readonly from: string;
}

/**
 * The person's token, where Hugging Face's own tools look for it: HF_TOKEN, else the file that `hf auth login` writes. Read
 * anew at each use, so that a changed one counts at once. @throws denied: there is none, or it can't be one
 */
export async function readHfToken(env: NodeJS.ProcessEnv): Promise<HfToken> {
  const file = tokenFile(env);
  const given = env["HF_TOKEN"]?.trim() ?? "";
  const found = given === "" ? await readToken(file) : given;
  const from = given === "" ? file : "HF_TOKEN";
  if (found === "") throw refused("there is no token for Hugging Face: HF_TOKEN is not set, and there is no", file);
  // Anything else in a header would be an error of its own, with the token in its message.
  if (!/^hf_[\x21-\x7e]+$/.test(found)) throw refused("this is no token of Hugging Face, which begins with hf_:", from);
  return { token: found, from };
}

function tokenFile(env: NodeJS.ProcessEnv): string {
  const cache = env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  return env["HF_TOKEN_PATH"] || join(env["HF_HOME"] || join(cache, "huggingface"), "token");
}

async function readToken(file: string): Promise<string> {
  try {
    return (await readFile(file, "utf8")).trim();
  } catch (error) {
    const code = systemCode(error);
    if (code === "ENOENT" || code === "ENOTDIR") return "";
    throw refused(`the token for Hugging Face can't be read (${code ?? "unknown error"}):`, file);
  }
}

function refused(what: string, where: string): VlinderError {
  return new VlinderError("denied", `${what} ${where}`, {
    remedy:
      "make a token with write access at https://huggingface.co/settings/tokens, and run hf auth login as the user that " +
      "runs vlinderd, or start vlinderd with HF_TOKEN",
    details: { where },
  });
}
