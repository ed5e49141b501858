// The same work for many things, a few at a time.

/** Runs `work` for each item, `at_once` at a time; ends early once `signal` says so. */
export async function each<T>(
  items: T[],
  atOnce: number,
  work: (item: T) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  const waiting = items.values();
  const one = async () => {
    for (const item of waiting) {
      if (signal?.aborted) return;
      await work(item);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, one));
}
