/** A URI that is shown, without what may be a password: all before an "@", and what is set behind a "?". */
export function withoutSecrets(uri: string): string {
  return uri.replace(/^([^@]*?:\/\/|).*@/s, "$1…@").replace(/[?#].*/s, "?…");
}
