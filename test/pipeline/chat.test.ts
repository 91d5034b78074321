import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { FormatError, UsageError } from '../../src/errors.ts'
import type { ChatMessage } from '../../src/pipeline/chat.ts'
import { openChatTemplate } from '../../src/pipeline/chat.ts'
import { temporaryFolder } from '../formats/temp.ts'

type Case = { name: string; messages: ChatMessage[]; tools?: unknown[]; addGenerationPrompt: boolean; text: string }
type Style = { style: string; template: string; cases: Case[] }

const STYLES = JSON.parse(
  fs.readFileSync(path.join(import.meta.dirname, '../golden/chat/chats.json'), 'utf8'),
) as Style[]
const folder = temporaryFolder()
const CONFIG = { bos_token: '<s>', eos_token: { content: '</s>', lstrip: false }, add_bos_token: true }

function written(template: string | undefined, config: object = CONFIG): string {
  const out = fs.mkdtempSync(path.join(folder, 'model-'))
  fs.writeFileSync(path.join(out, 'tokenizer_config.json'), JSON.stringify(config))
  if (template !== undefined) fs.writeFileSync(path.join(out, 'chat_template.jinja'), template)
  return out
}

describe('openChatTemplate()', () => {
  const rows = STYLES.flatMap(({ style, template, cases }) => cases.map((one) => ({ style, template, ...one })))

  it.each(rows)('renders $name in the style $style as transformers does (prompt: $addGenerationPrompt)', (row) => {
    const { messages, tools, addGenerationPrompt, template, text } = row
    const { render } = openChatTemplate(written(template))
    expect(render({ messages, ...(tools ? { tools } : {}) }, { addGenerationPrompt })).toBe(text)
  })

  const user = { messages: [{ role: 'user', content: 'hi' }] }

  it('takes the template of tokenizer_config.json, and of several the default', () => {
    const one = openChatTemplate(written(undefined, { ...CONFIG, chat_template: '{{ eos_token }}1' }))
    expect(one.render(user)).toBe('</s>1')
    const list = [
      { name: 'rag', template: 'r' },
      { name: 'default', template: 'd{{ bos_token }}' },
    ]
    expect(openChatTemplate(written(undefined, { ...CONFIG, chat_template: list })).render(user)).toBe('d<s>')
    const both = { ...CONFIG, chat_template: 'config' }
    expect(openChatTemplate(written('file', both)).render(user)).toBe('file')
  })

  it('tells templates one date', () => {
    const { render } = openChatTemplate(written('{{ strftime_now("%d %b %Y, %A %H:%M 100%%") }}'))
    expect(render(user)).toBe('26 Jul 2024, Friday 12:00 100%')
  })

  it('keeps the words of a template that refuses', () => {
    const { template } = STYLES.find(({ style }) => style === 'inst')!
    const { render } = openChatTemplate(written(template))
    const bad = { messages: [{ role: 'assistant', content: 'first' }] }
    expect(() => render(bad)).toThrow(/Conversation roles must alternate/)
  })

  it('refuses a model without a template, and one that is none', () => {
    expect(() => openChatTemplate(written(undefined))).toThrow(UsageError)
    expect(() => openChatTemplate(written('{% for x in %}'))).toThrow(FormatError)
  })

  it.each([
    [
      'a range of a thousand million',
      '{% for i in range(1000000000) %}x{% endfor %}',
      /range\(\) of 1000000000 numbers/,
    ],
    [
      'loops in loops',
      '{% for i in range(99999) %}{% for j in range(99999) %}{{ j }}{% endfor %}{% endfor %}',
      /more than 1000000 steps|longer than \d+ ?ms/,
    ],
    [
      'a string doubled 60 times',
      '{% set n = namespace(s="ab") %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}',
      /a value of \d+ parts|more than \d+ characters/,
    ],
    [
      'a list doubled 60 times',
      '{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}',
      /a value of \d+ parts|more than \d+ characters/,
    ],
    ['a macro that calls itself', '{% macro f(g) %}{{ g(g) }}{% endmacro %}{{ f(f) }}', /call stack/],
    ['white space without an end', `${' '.repeat(200_000)}x`, /longer than/],
    ['a template of a megabyte', 'x'.repeat(1_000_001), /it has 1000001 characters, at most 1000000/],
  ])('stops %s', (_, template, message) => {
    const render = (): string => openChatTemplate(written(template)).render(user)
    expect(render).toThrow(FormatError)
    expect(render).toThrow(message)
  })

  it('reaches no code and no prototype of ours', () => {
    const tried = [
      '{{ messages.constructor }}',
      '{{ messages["__proto__"] }}',
      '{{ raise_exception.constructor }}',
      '{{ (1).constructor }}',
      '{% set messages.__proto__ = 1 %}',
    ].map((template) => {
      try {
        return openChatTemplate(written(template)).render(user)
      } catch (error) {
        expect(error).toBeInstanceOf(FormatError)
        return ''
      }
    })
    expect(tried.join('')).not.toMatch(/function|native code|\[object/)
    expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false)
  })
})
