/** What happened, in order, on both sides: the SFU's and the recorder's. */
export class Journal {
  readonly lines: string[] = [];

  add(line: string): void {
    this.lines.push(line);
  }

  /** The lines that begin with one of these words. */
  of(...begin: string[]): string[] {
    return this.lines.filter((l) => begin.some((b) => l.startsWith(b)));
  }

  count(begin: string): number {
    return this.of(begin).length;
  }

  clear(): void {
    this.lines.length = 0;
  }
}

/** Waits for what other turns of the event loop bring about. */
export async function eventually(condition: () => boolean, what: string): Promise<void> {
  const limit = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > limit) throw new Error(`never happened: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
