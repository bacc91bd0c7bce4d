import { delimiter } from "node:path";
import { invalid } from "@vlinder/protocol";
import { unknownName } from "./toml-check.ts";

/** Variables of vlinder that are no configuration. */
const OTHERS: ReadonlySet<string> = new Set(["VLINDER_HOME", "VLINDER_URL", "VLINDER_CREDS", "VLINDER_NATS_SERVER"]);

export type Form = "text" | "number" | "list";
/** Section → its keys, and what each one's text stands for; null: a section with any keys, all text. */
export type Sections = Readonly<Record<string, Readonly<Record<string, Form>> | null>>;

export interface Setting {
  readonly variable: string;
  readonly section: string;
  readonly key: string;
  readonly value: string | number | string[];
}

/**
 * The settings among the environment's variables, `VLINDER_<SECTION>_<KEY>`. A variable with a
 * known section and an unknown key is an error, since a typing error must not be a silent default;
 * one with an unknown section may be somebody else's. @throws invalid
 */
export function readEnvironment(env: NodeJS.ProcessEnv, sections: Sections): Setting[] {
  const settings: Setting[] = [];
  for (const [variable, text] of Object.entries(env)) {
    const section = Object.keys(sections).find((name) => variable.startsWith(`VLINDER_${name.toUpperCase()}_`));
    if (section === undefined || OTHERS.has(variable) || text === undefined) continue;
    const key = variable.slice(`VLINDER_${section}_`.length).toLowerCase();
    const keys = sections[section] ?? null;
    const form = keys === null ? "text" : Object.hasOwn(keys, key) ? keys[key] : undefined;
    if (form === undefined || key === "") {
      const allowed = Object.keys(keys ?? {}).map((name) => `VLINDER_${section}_${name}`.toUpperCase());
      throw invalid(`environment: ${unknownName("setting", variable, allowed)}`, {
        remedy: `correct or unset it; settings of this section: ${allowed.join(", ")}`,
        details: { variable },
      });
    }
    if (text === "") {
      throw invalid(`environment: ${variable} is empty`, {
        remedy: "give it a value or unset it",
        details: { variable },
      });
    }
    settings.push({ variable, section, key, value: valueOf(form, text) });
  }
  return settings;
}

function valueOf(form: Form, text: string): string | number | string[] {
  if (form === "list") return text.split(delimiter);
  // What is not a number stays text, and is refused with the other wrong types.
  if (form === "number" && /^\d+$/.test(text)) return Number(text);
  return text;
}
