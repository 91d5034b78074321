/** Longest time for which signals, timers and progress wait while a loop works. */
const BREATH_MS = 50

let last = performance.now()

/**
 * For loops that read, hash or write many bytes in this thread: called at every piece, it lets signals, timers and progress
 * through now and then, so that a process can be stopped in the middle of a file of many GB.
 */
export async function breathe(): Promise<void> {
  if (performance.now() - last < BREATH_MS) return
  await new Promise((resolve) => setImmediate(resolve))
  last = performance.now()
}
