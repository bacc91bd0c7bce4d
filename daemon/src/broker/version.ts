/** The oldest nats-server that vlinder is tested with; scoped signing keys with templates came shortly before. */
export const OLDEST_SERVER = "2.9.10";

/** Whether a version like `2.10.4` or `2.11.0-preview.1` is at least `oldest`. */
export function isAtLeast(version: string, oldest: string): boolean {
  const numbers = (text: string) => (text.split("-")[0] ?? "").split(".").map(Number);
  const [have, want] = [numbers(version), numbers(oldest)];
  for (let i = 0; i < 3; i++) {
    const difference = (have[i] ?? 0) - (want[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}
