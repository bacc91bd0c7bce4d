const TIME = /^(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d)(?::(\d\d)(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)?)?$/;

/**
 * A time as a ref has it, in ISO 8601: a date, with or without `T` and hours and minutes, seconds, milliseconds and a zone.
 * Without a zone it is UTC; a date alone is its beginning. Returns it as commits have theirs, `2026-11-20T21:40:00.000Z`;
 * null: it is no time.
 */
export function parseRefTime(text: string): string | null {
  const [, date, minutes = "00:00", seconds = "00", fraction = ".0", zone = "Z"] = TIME.exec(text) ?? [];
  // February 30 would be taken for March 2.
  if (date === undefined || new Date(`${date}T00:00:00Z`).getUTCDate() !== Number(date.slice(8))) return null;
  const time = new Date(`${date}T${minutes}:${seconds}${fraction}${zone}`);
  const written = Number.isNaN(time.getTime()) ? "" : time.toISOString();
  // A year before 0 or after 9999 is written in another form.
  return written.length === 24 ? written : null;
}
