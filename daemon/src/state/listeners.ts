/** Who wants to know of something. */
export class Listeners<News> {
  readonly #all = new Set<(news: News) => void>();

  /** Returns the way to stop it. */
  add(listener: (news: News) => void): () => void {
    this.#all.add(listener);
    return () => this.#all.delete(listener);
  }

  /** What it is about is durable and will be answered; who listens and throws has a mistake to mend. */
  tell(news: News): void {
    for (const listener of this.#all) {
      try {
        listener(news);
      } catch (error) {
        process.emitWarning(error instanceof Error ? error : String(error));
      }
    }
  }
}
