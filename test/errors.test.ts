import { describe, expect, it } from 'vitest'
import { FormatError, SpexpandError } from '../src/errors.ts'

describe('SpexpandError', () => {
  it('keeps what files put into messages on one line, and out of the terminal', () => {
    const { message } = new FormatError('Cannot read "a\nb\r\u001b[2J\u0000\u202ec\u2028d": é 😀 stay')
    expect(message).toBe('Cannot read "a\\u000ab\\u000d\\u001b[2J\\u0000\\u202ec\\u2028d": é 😀 stay')
  })

  it('shortens what is too long to be read, in the middle', () => {
    const { message } = new SpexpandError('input', `begin ${'x'.repeat(1_000_000)} end`)
    expect(message.length).toBeLessThan(4010)
    expect(message).toMatch(/^begin x+ … x+ end$/)
  })
})
