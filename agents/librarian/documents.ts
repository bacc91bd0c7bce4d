import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { cut, titleOf, type Passage } from "./passages.ts";

export interface SourceFile {
  /** Name of the folder that was read, and the way from there: the same on every machine. */
  readonly path: string;
  /** Where it is here. */
  readonly location: string;
}

export interface Document {
  readonly path: string;
  readonly title: string;
  /** SHA-256 of its bytes, in hex. */
  readonly hash: string;
  readonly text: string;
}

const DOCUMENT =
  /\.(md|markdown|mdx|txt|rst)$|^(readme|license|licence|changelog|changes|contributing|security|authors)$/i;

/** What a folder is called in paths: its own name. */
export function rootOf(folder: string): string {
  return basename(resolve(folder)) || "root";
}

/** The documents under some folders, in an order that depends on their names alone. Hidden folders are left out. */
export async function findFiles(folders: readonly string[]): Promise<SourceFile[]> {
  const found: SourceFile[] = [];
  for (const folder of folders) await walk(resolve(folder), rootOf(folder), found);
  const depth = ({ path }: SourceFile): number => path.split("/").length;
  return found.toSorted((a, b) => depth(a) - depth(b) || (a.path < b.path ? -1 : 1));
}

async function walk(location: string, path: string, found: SourceFile[]): Promise<void> {
  for (const entry of await readdir(location, { withFileTypes: true })) {
    const inside = { location: join(location, entry.name), path: `${path}/${entry.name}` };
    // Links are not followed: they lead out of the folder, or round in circles.
    if (entry.isDirectory() && !entry.name.startsWith(".")) await walk(inside.location, inside.path, found);
    else if (entry.isFile() && DOCUMENT.test(entry.name)) found.push(inside);
  }
}

/** Null when it is not text. */
export async function readDocument(file: SourceFile): Promise<Document | null> {
  const bytes = await readFile(file.location);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    // A file that is named like a document and is none; the caller counts it.
    return null;
  }
  const hash = createHash("sha256").update(bytes).digest("hex");
  return { path: file.path, hash, text, title: titleOf(text) ?? basename(file.path) };
}

export function passagesOf(document: Document): Passage[] {
  return cut(document.text, document.title);
}

/** A passage as it is stored and shown: under its headings. */
export function storedText(passage: Passage): string {
  return `${passage.heading}\n\n${passage.text}`;
}

/** What of a stored passage is searched: also the names of its folders and file, since people ask by name. */
export function searchText(path: string, stored: string): string {
  const names = path
    .split("/")
    .slice(1)
    .join(" ")
    .replace(/\.\w+$/, "");
  return `${names}\n${stored}`;
}
