import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { createProgram } from '../bin/program.ts'
import { EXIT_CODES } from '../src/errors.ts'
import * as library from '../src/index.ts'
import { fakeContext } from './bin/context.ts'

const ROOT = new URL('..', import.meta.url).pathname

const commands = createProgram(fakeContext().context).commands.filter((command) => command.name() !== 'help')
const pages = ['README.md', 'CHANGELOG.md', ...markdown('docs'), ...markdown('calibration')]

function markdown(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(folder, name))
    .sort()
}

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

/** Targets of relative links, without anchors. */
function linksOf(page: string): string[] {
  return [...read(page).matchAll(/\]\(([^)\s]+)\)/g)]
    .map((match) => match[1]!)
    .filter((link) => !/^(https?:|mailto:|#)/.test(link))
    .map((link) => link.replace(/#.*$/, ''))
}

describe('docs/cli', () => {
  it('has a page for every command, linked from its index', () => {
    expect(commands.length).toBeGreaterThan(5)
    const index = read('docs/cli/README.md')
    for (const command of commands) expect(index).toContain(`(${command.name()}.md)`)
  })

  it.each(commands.map((command) => [command.name(), command] as const))(
    '%s.md has a row for every flag, and for no other',
    (name, command) => {
      const flags = command.options.map(({ long }) => long!)
      const rows = [...read(`docs/cli/${name}.md`).matchAll(/^\| `(?:-\w, )?(--[\w-]+)/gm)].map((match) => match[1]!)
      expect(flags.length).toBeGreaterThan(1)
      // A flag of two forms of a command (predict --griffin, predict --hire) has a row in each.
      expect([...new Set(rows)].sort()).toEqual(flags.sort())
    },
  )

  it('lists every exit code', () => {
    const listed = [...read('docs/cli/README.md').matchAll(/^\| (\d+) \|/gm)].map((match) => Number(match[1]))
    expect(listed).toEqual([0, ...Object.values(EXIT_CODES), 143])
  })
})

describe('pages', () => {
  it.each(pages)('%s links to files that exist', (page) => {
    expect(linksOf(page).filter((link) => !existsSync(join(ROOT, dirname(page), link)))).toEqual([])
  })
})

describe('README.md', () => {
  const readme = read('README.md')

  it('has the two commands that do all the set-up', () => {
    expect(readme).toContain('npm ci && npx spexpand compress --experts 16 --sparsity 0.7\n')
    expect(readme).toContain('npm ci && npm test\n')
  })

  it('names every command', () => {
    for (const command of commands) expect(readme).toContain(`| [\`${command.name()}\`]`)
  })

  it('imports only what the library exports', () => {
    const names = [...readme.matchAll(/import \{ ([^}]+) \} from 'spexpand'/g)].flatMap((match) =>
      match[1]!.split(', '),
    )
    expect(names.length).toBeGreaterThan(0)
    expect(names.filter((name) => !(name in library))).toEqual([])
  })
})
