import type { Context, Library } from '../../bin/context.ts'
import { createRunLog } from '../../bin/log.ts'
import { main } from '../../bin/main.ts'

/** A clock that stands still until a test moves it. */
export type FakeClock = { ms: number }

/** What a command wrote so far. */
export type Printed = { stdout: string; stderr: string }

/** A context with handles on its outputs and its clock. */
export type FakeContext = { context: Context; printed: Printed; clock: FakeClock }

/** A context that keeps what is printed and answers library calls from `library`; others reject. */
export function fakeContext(library: Partial<Library> = {}): FakeContext {
  const printed: Printed = { stdout: '', stderr: '' }
  const clock: FakeClock = { ms: 0 }
  const missing = new Proxy(library, {
    get(target, name: string) {
      const call = target[name as keyof Library]
      if (call === undefined && name !== 'then') throw new Error(`The command called ${name}() unasked`)
      return call
    },
  }) as Library
  const context: Context = {
    stdout: { write: (text) => (printed.stdout += text) },
    stderr: { write: (text) => (printed.stderr += text) },
    bars: false,
    now: () => clock.ms,
    signal: new AbortController().signal,
    log: createRunLog(
      () => clock.ms,
      () => ({ rss: 3, heapUsed: 2, external: 1 }),
    ),
    library: () => Promise.resolve(missing),
  }
  return { context, printed, clock }
}

/** Runs a command line against `library` and returns its exit code and output. */
export async function runCli(line: string, library: Partial<Library> = {}): Promise<Printed & { code: number }> {
  const { context, printed } = fakeContext(library)
  const code = await main(line.split(' ').filter(Boolean), context)
  return { code, ...printed }
}
