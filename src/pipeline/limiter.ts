/** Runs at most `limit` tasks at once, in the order they are given. */
export function limiter(limit: number): <T>(task: () => Promise<T>) => Promise<T> {
  let running = 0
  const waiting: (() => void)[] = []
  return async (task) => {
    if (running >= limit) await new Promise<void>((resolve) => waiting.push(resolve))
    running++
    try {
      return await task()
    } finally {
      running--
      waiting.shift()?.()
    }
  }
}

/** The results of `begin` for all items, in their order, at most `limit` begun and not yet taken. */
export async function* inOrder<T, R>(
  items: readonly T[],
  begin: (item: T) => Promise<R>,
  limit: number,
): AsyncGenerator<R, void> {
  const begun: Promise<R>[] = []
  for (let next = 0; next < items.length || begun.length > 0;) {
    while (next < items.length && begun.length < limit) {
      const result = begin(items[next++]!)
      // Its failure is told when its turn comes; if an earlier one failed, nobody asks for it any more.
      result.catch(() => {})
      begun.push(result)
    }
    yield await begun.shift()!
  }
}
