import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import type { Document } from '../../calibration/corpus.ts'
import { readDocuments } from '../../calibration/corpus.ts'
import { lines } from '../../calibration/lines.ts'
import { readPlainText } from '../../calibration/plain-text.ts'
import { FormatError, UsageError } from '../../src/errors.ts'

const folder = mkdtempSync(join(tmpdir(), 'spexpand-corpus-'))
afterAll(() => rmSync(folder, { recursive: true }))

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

async function* chunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

function stdin(text: string | Uint8Array, size = 7): { stdin: AsyncGenerator<Uint8Array> } {
  return { stdin: chunks(Buffer.from(text), size) }
}

function read(paths: string[], options?: Parameters<typeof readDocuments>[1]): Promise<Document[]> {
  return collect(readDocuments(paths, options))
}

const document = (text: string, domain: string): Document => ({ text, domain, continues: false })

/** The pieces of a text that arrives 4 bytes at a time, in pieces of 8. */
async function pieces(text: string): Promise<string[]> {
  return (await collect(readPlainText(chunks(Buffer.from(text), 4), 'x', 'd', 8))).map((piece) => piece.text)
}

function refuseChat(): never {
  throw new Error('roles must\nalternate')
}

describe('readDocuments()', () => {
  it('readDocuments() takes a plain file as one document, its name as the domain', async () => {
    expect(await read([file('book.txt', 'One.\n\nTwö.\n')])).toEqual([document('One.\n\nTwö.\n', 'book')])
    expect(await read([file('README', '{"text": 1}\n')])).toEqual([document('{"text": 1}\n', 'README')])
  })

  it('readDocuments() renders messages where it is told how, and refuses them where it is not', async () => {
    const path = file(
      'chat.jsonl',
      '{"messages":[{"role":"a","content":"b"}],"tools":null,"domain":"x"}\n{"text":"t"}\n',
    )
    const seen: object[] = []
    const renderChat = (chat: object): string => {
      seen.push(chat)
      return 'rendered'
    }
    expect(await read([path], { renderChat })).toEqual([document('rendered', 'x'), document('t', 'chat')])
    expect(seen).toEqual([{ messages: [{ role: 'a', content: 'b' }] }])
    await expect(read([path])).rejects.toThrow(/line 1: field "text" is missing, and "messages" need --chat-template/)
    await expect(read([path], { renderChat: refuseChat })).rejects.toThrow(
      /the chat template says "roles must alternate"/,
    )
    const bad = file('bad-chat.jsonl', '{"messages":[{"role":"a"}],"tools":"none"}\n')
    await expect(read([bad], { renderChat })).rejects.toThrow(/field "tools" is no list/)
  })

  it('readDocuments() reads JSON lines with and without domain, and skips blank lines', async () => {
    const path = file('mixed.jsonl', '{"text":"a\\nb","domain":"x"}\r\n\n  \n{"text":"c","id":7}\n{"text":""}')
    expect(await read([path])).toEqual([document('a\nb', 'x'), document('c', 'mixed'), document('', 'mixed')])
    expect(await read([file('also.NDJSON', '{"text":"d"}')])).toEqual([document('d', 'also')])
  })

  it('readDocuments() keeps the order of the files', async () => {
    const paths = [file('z.txt', 'z'), file('a.txt', 'a')]
    expect((await read(paths)).map(({ text }) => text)).toEqual(['z', 'a'])
  })

  it('readDocuments() tells JSON lines from plain text on standard input by the first line', async () => {
    expect(await read(['-'], stdin('{"text":"a"}\n{"text":"b","domain":"x"}\n'))).toEqual([
      document('a', 'stdin'),
      document('b', 'x'),
    ])
    const plain = await read(['-'], stdin('["text"]\nmore\n'))
    expect(plain).toEqual([document('["text"]\nmore\n', 'stdin')])
    expect(await read(['-'], stdin('{"text":"no line break"}'))).toEqual([document('no line break', 'stdin')])
  })

  it.each([
    ['{"text":"a"}\n{"text":', 'line 2: got no valid JSON'],
    ['{"text":"a"}\n\n{"txt":"b"}', 'line 3: field "text" is missing'],
    ['{"text":5}', 'line 1: field "text" is a number'],
    ['{"text":null}', 'line 1: field "text" is null'],
    ['{"text":["a"]}', 'line 1: field "text" is an array'],
    ['{"text":"a","domain":{}}', 'line 1: field "domain" is an object'],
    ['["a"]', 'line 1: got an array'],
    ['"a"', 'line 1: got a string'],
    ['{"__proto__":{"text":"a"}}', 'line 1: field "text" is missing'],
  ])('readDocuments() refuses %j, naming the line and field', async (content, message) => {
    const path = file('bad.jsonl', content)
    const failure = await read([path]).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(FormatError)
    expect((failure as Error).message).toContain(`${path}, ${message}`)
    expect((failure as Error).message).toContain('wanted an object with a string "text"')
    expect((failure as Error).message).not.toContain('\n')
  })

  it('readDocuments() names the line of bytes that are not UTF-8', async () => {
    const bytes = Buffer.concat([Buffer.from('good\ngood\nbad '), Buffer.of(0xe9), Buffer.from(' bad\n')])
    await expect(read([file('latin.txt', bytes)])).rejects.toThrow(/latin\.txt, line 3: got bytes that are not UTF-8/)
    const json = Buffer.concat([Buffer.from('{"text":"ok"}\n{"text":"'), Buffer.of(0xff), Buffer.from('"}\n')])
    await expect(read([file('latin.jsonl', json)])).rejects.toThrow(/latin\.jsonl, line 2: got bytes/)
  })

  it.each([
    ['empty.txt', '', 'it is empty'],
    ['empty.jsonl', '\n\n', 'it is empty'],
    ['blank.txt', ' \n\t\n', 'its 1 documents hold white space only'],
    ['blank.jsonl', '{"text":" "}\n{"text":""}', 'its 2 documents hold white space only'],
  ])('readDocuments() refuses %s, a file without text', async (name, content, message) => {
    await expect(read([file(name, content)])).rejects.toThrow(message)
  })

  it('readDocuments() names what the system says about a file', async () => {
    await expect(read([join(folder, 'none.txt')])).rejects.toThrow('there is no such file')
    await expect(read([folder])).rejects.toThrow('it is a folder')
    await expect(read([])).rejects.toThrow(UsageError)
    await expect(read(['-', '-'], stdin('x'))).rejects.toThrow(UsageError)
  })

  it('readDocuments() reads no further than asked', async () => {
    let taken = 0
    const endless: AsyncGenerator<Uint8Array> = (async function* () {
      for (;;) {
        taken++
        yield Buffer.from('{"text":"again"}\n')
      }
    })()
    let documents = 0
    for await (const { text } of readDocuments(['-'], { stdin: endless })) {
      expect(text).toBe('again')
      if (++documents === 5) break
    }
    expect(taken).toBeLessThan(8)
  })
})

describe('lines()', () => {
  it('lines() does not depend on how the bytes arrive', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: fc.constantFrom('a', '\n', 'é', '\r') }), { maxLength: 6 }),
        fc.integer({ min: 1, max: 5 }),
        async (parts, size) => {
          const text = parts.join('')
          const got = await collect(lines(chunks(Buffer.from(text), size), 'x'))
          const expected = text.split('\n')
          if (expected.at(-1) === '') expected.pop()
          expect(got.map(({ bytes }) => Buffer.from(bytes).toString())).toEqual(expected)
          expect(got.map(({ number }) => number)).toEqual(expected.map((_, i) => i + 1))
        },
      ),
    )
  })
})

describe('readPlainText()', () => {
  it('readPlainText() pieces join to the text, whatever the sizes, and only the first begins a document', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: fc.constantFrom('a', ' ', '\n', 'é', '語', '😀'), minLength: 1, maxLength: 80 }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 8, max: 30 }),
        async (text, size, pieceBytes) => {
          const got = await collect(readPlainText(chunks(Buffer.from(text), size), 'x', 'd', pieceBytes))
          expect(got.map((piece) => piece.text).join('')).toBe(text)
          expect(got.map((piece) => piece.continues)).toEqual(got.map((_, i) => i > 0))
        },
      ),
    )
  })

  it('readPlainText() cuts before a line break, else before a space', async () => {
    expect(await pieces('one\ntwo\nthree')).toEqual(['one\ntwo', '\nthree'])
    expect(await pieces('one two three')).toEqual(['one two', ' three'])
  })

  it('readPlainText() counts lines over pieces when it names one', async () => {
    const bytes = Buffer.concat([Buffer.from('one\ntwo\nthree\nfour\n'), Buffer.of(0xff, 0x0a)])
    await expect(collect(readPlainText(chunks(bytes, 3), 'x', 'd', 8))).rejects.toThrow('x, line 5:')
  })
})
