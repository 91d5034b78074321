import vm from 'node:vm'

/** A function that was stopped because it took too long. */
export class TimeLimitError extends Error {}

/** Times that a body is begun anew because the machine was busy with something else. */
const MAX_ATTEMPTS = 5

let context: { body?: () => unknown } | undefined
let call: vm.Script | undefined

/**
 * What `body` returns or throws, if it ends within `limitMs`; else throws TimeLimitError. It stops loops, and regular
 * expressions that backtrack: patterns out of a model's files may take 2^n steps on n characters. Takes 0.2 ms. A process
 * that got less than half of a processor meanwhile begins `body` anew: it has to be one that may be run twice.
 */
export function withinTime<T>(limitMs: number, body: () => T): T {
  for (let attempt = 1; ; attempt++) {
    const before = process.cpuUsage()
    try {
      return attemptWithin(limitMs, body)
    } catch (error) {
      const { user, system } = process.cpuUsage(before)
      const isStarved = (user + system) / 1000 < limitMs / 2
      if (error instanceof TimeLimitError && isStarved && attempt < MAX_ATTEMPTS) continue
      throw error
    }
  }
}

function attemptWithin<T>(limitMs: number, body: () => T): T {
  context ??= vm.createContext({}) as { body?: () => unknown }
  call ??= new vm.Script('body()')
  // A call inside a call: the inner one must not take away the outer one's function.
  const before = context.body
  context.body = body
  try {
    return call.runInContext(context, { timeout: Math.ceil(limitMs) }) as T
  } catch (error) {
    // It is of the context's own Error, not of ours.
    if ((error as { readonly code?: unknown } | null)?.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT')
      throw new TimeLimitError(`it takes longer than ${Math.ceil(limitMs)} ms`, { cause: error })
    throw error
  } finally {
    if (before) context.body = before
    else delete context.body
  }
}
