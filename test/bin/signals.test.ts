import { describe, expect, it } from 'vitest'
import { watchSignals } from '../../bin/signals.ts'

function fakeProcess() {
  const listeners = new Map<string, () => void>()
  const exits: number[] = []
  const timers: { ms: number; fire: () => void }[] = []
  return {
    exits,
    timers,
    after: (ms: number, fire: () => void) => {
      timers.push({ ms, fire })
    },
    raise: (signal: string) => listeners.get(signal)!(),
    on: (signal: string, listener: () => void) => listeners.set(signal, listener),
    exit: (code: number) => {
      exits.push(code)
    },
  }
}

describe('watchSignals()', () => {
  it('aborts at the first signal, says how to go on, and exits at the second', () => {
    const source = fakeProcess()
    const lines: string[] = []
    const signals = watchSignals(source, (line) => lines.push(line))
    expect(signals.signal.aborted).toBe(false)
    source.raise('SIGINT')
    expect(signals.signal.aborted).toBe(true)
    expect(lines.join('')).toContain('the same command')
    expect(source.exits).toEqual([])
    source.raise('SIGTERM')
    expect(source.exits).toEqual([143])
    expect(lines).toHaveLength(1)
  })

  it('ends the process when the piece of work takes longer than 4 seconds, and tells of every signal', () => {
    const source = fakeProcess()
    const heard: string[] = []
    watchSignals(
      source,
      () => {},
      (signal) => heard.push(signal),
    )
    source.raise('SIGTERM')
    expect(source.timers.map(({ ms }) => ms)).toEqual([4000])
    expect(source.exits).toEqual([])
    source.timers[0]!.fire()
    expect(source.exits).toEqual([143])
    source.raise('SIGINT')
    expect(heard).toEqual(['SIGTERM', 'SIGINT'])
  })

  it('turns 130 into 143 after SIGTERM, and no other code', () => {
    const source = fakeProcess()
    const signals = watchSignals(source, () => {})
    expect(signals.exitCode(130)).toBe(130)
    source.raise('SIGTERM')
    expect([0, 3, 130].map((code) => signals.exitCode(code))).toEqual([0, 3, 143])
  })
})
