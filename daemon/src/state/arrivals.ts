/** When all that is at work now has asked for what it will: what came in one packet, and what follows from it without waiting. */
export function arrivals(): Promise<void> {
  // A tick comes when no microtask is left; one that is asked for outside of them would come before.
  return new Promise((resolve) => queueMicrotask(() => process.nextTick(resolve)));
}
