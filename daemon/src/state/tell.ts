/** Tells everybody what is durable by now, and will be answered: who listens and throws has a mistake to mend. */
export function tell<News>(listeners: Iterable<(news: News) => void>, news: News): void {
  for (const listener of listeners) {
    try {
      listener(news);
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error));
    }
  }
}
