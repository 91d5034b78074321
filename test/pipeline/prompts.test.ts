import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FormatError } from '../../src/errors.ts'
import { readPrompts } from '../../src/pipeline/prompts.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'spexpand-prompts-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

function fileOf(content: string): string {
  const path = join(folder, 'prompts.jsonl')
  writeFileSync(path, content)
  return path
}

describe('readPrompts()', () => {
  it('takes "prompt" or "text" of every line that is not empty', () => {
    expect(readPrompts(fileOf('{"prompt":"a"}\n\n{"text":"b","domain":"x"}\n'))).toEqual(['a', 'b'])
  })

  it.each([
    ['{"prompt":"a"}\n{', 'line 2'],
    ['{"other":1}', 'wanted an object with "prompt"'],
    ['\n', 'it has none'],
  ])('refuses %j, saying where', (content, message) => {
    const path = fileOf(content)
    expect(() => readPrompts(path)).toThrow(FormatError)
    expect(() => readPrompts(path)).toThrow(message)
  })
})
