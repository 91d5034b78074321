/**
 * For loops that read, hash or write many bytes in this thread: called after every piece, it lets signals, timers and
 * progress through, so that a process can be stopped in the middle of a file of many GB.
 */
export function breathe(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
