import { nativeStatus } from '../runtime/native.ts'
import type { Provider } from '../runtime/session.ts'

/** Our operators where they are built: many times faster than the portable functions, and the result says so. */
export function defaultProvider(): Provider {
  const native = nativeStatus()
  return native.found && native.operatorsPath !== undefined ? 'spexpand' : 'cpu'
}
