/** In a document, before the fenced block that shows how commands ran. */
const BLOCK = /^<!-- ran: ([a-z-]+) -->\n```\n(.*?)^```$/gms;

/** The blocks of a document that show how commands ran, by name. */
export function shownBlocks(document: string): Map<string, string> {
  return new Map([...document.matchAll(BLOCK)].map(([, name = "", text = ""]) => [name, text]));
}

/** The document with other text in these blocks. */
export function withBlocks(document: string, blocks: ReadonlyMap<string, string>): string {
  return document.replaceAll(BLOCK, (block, name: string) => {
    const text = blocks.get(name);
    return text === undefined ? block : `<!-- ran: ${name} -->\n\`\`\`\n${text}\`\`\``;
  });
}

/** What of a transcript is the same in every run: no hashes, ids, times, dates, sizes and the widths that follow from them. */
export function comparable(transcript: string): string {
  return transcript
    .replaceAll(/\b[0-9a-f]{7,64}\b/g, "HASH")
    .replaceAll(/\b([st])-[0-9a-z]{16,}\b/g, "$1-ID")
    .replaceAll(/\bbroken-\d{4}-\d{2}-\d{2}\b/g, "broken-DATE")
    .replaceAll(/\b\d{4}-\d{2}-\d{2}T[\d:.]+Z/g, "DATE")
    .replaceAll(/\b(now|\d+ (s|min) ago|\d+(\.\d+)? s)\b/g, "TIME")
    .replaceAll(/\b\d+(\.\d+)? (B|kB|MB)(?!\w)/g, "SIZE")
    .replaceAll(/\bpid \d+/g, "pid PID")
    .replaceAll(/[^\S\n]+/g, " ")
    .replaceAll(/ $/gm, "");
}
