import { invalid } from "@vlinder/protocol";

/** How what is wrong with a file of one kind is said, and how its objects are read. */
export interface FileForm {
  /** It is not what it says, or says nothing. */
  readonly bad: (what: string) => Error;
  /** It may be of a release that this one does not know. */
  readonly newer: (what: string) => Error;
  /** An object of canonical JSON that has these members, in their order, and no others. @throws invalid */
  readonly fields: (value: unknown, names: string, what: string) => Record<string, unknown>;
}

/** @param kind as it is called in errors: "head" */
export function fileForm(kind: string): FileForm {
  const bad = (what: string): Error => invalid(`not a good ${kind}: ${what}`);
  const newer = (what: string): Error =>
    invalid(`a ${kind} has ${what}`, { remedy: "a newer vlinder may have written it: update this one" });
  const fields: FileForm["fields"] = (value, names, what) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw bad(`its ${what} is no object`);
    // Canonical JSON has its members in order, so one comparison finds what lacks and what is unknown.
    if (Object.keys(value).join() !== names) throw newer(`a ${what} with other fields than ${names}`);
    return value as Record<string, unknown>;
  };
  return { bad, newer, fields };
}
