import { invalid, VlinderError } from "@vlinder/protocol";
import { topLevelNames } from "./json-names.ts";

/**
 * The model that a request's body asks for, when it is declared, and all that it may fall back to. Providers read JSON in
 * different ways (the last or the first of two equal names, names in any case): what could mean another model to one of
 * them is refused. @throws invalid, not_declared
 */
export function declaredModel(body: Uint8Array, declared: readonly string[]): string {
  const text = textOf(body);
  let fields: unknown;
  try {
    fields = JSON.parse(text);
  } catch (cause) {
    throw invalid("the body is no JSON", { cause, remedy: "send one JSON object, as the provider's API describes it" });
  }
  if (typeof fields !== "object" || fields === null || Array.isArray(fields)) throw noObject();
  const named = topLevelNames(text).filter((name) => ["model", "models"].includes(folded(name)));
  if (new Set(named).size !== named.length || named.some((name) => name !== folded(name))) {
    throw invalid('the body names its model more than once, or not as "model"', {
      remedy: 'write "model" once, in lower case',
    });
  }
  const { model, models } = fields as { model?: unknown; models?: unknown };
  if (typeof model !== "string") {
    throw invalid('the body has no "model"', { remedy: `name a declared one: ${declared.join(", ")}` });
  }
  // OpenRouter goes on to these when the first one is not to be had.
  const others = models === undefined ? [] : models;
  if (!Array.isArray(others) || !others.every((one) => typeof one === "string")) {
    throw invalid('"models" is no list of names', { remedy: 'leave it out, or list names beside "model"' });
  }
  for (const one of [model, ...(others as string[])]) requireDeclared(one, declared);
  return model;
}

/** @throws not_declared */
export function requireDeclared(model: string, declared: readonly string[]): void {
  if (declared.includes(model)) return;
  throw new VlinderError(
    "not_declared",
    `the model ${JSON.stringify(model.slice(0, 200))} is not declared; declared: ${declared.join(", ")}`,
    {
      details: { model: model.slice(0, 200), declared },
      remedy: "add it to models in agent.toml and run `vlinder agent add` again, or use a declared one",
    },
  );
}

/** As the most lenient reader compares names: without case, also of letters that only look different. */
function folded(name: string): string {
  return name.normalize("NFKC").toLowerCase();
}

function textOf(body: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
  } catch (cause) {
    throw invalid("the body is not UTF-8", { cause, remedy: "send JSON as UTF-8" });
  }
}

function noObject(): VlinderError {
  return invalid("the body is no JSON object", { remedy: "send one JSON object, as the provider's API describes it" });
}
