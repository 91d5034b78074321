import { readFileSync, readdirSync } from 'node:fs'
import { publint } from 'publint'
import { describe, expect, it } from 'vitest'

const ROOT = new URL('..', import.meta.url)

type PackageJson = {
  name: string
  version: string
  license: string
  type: string
  sideEffects: boolean
  engines: Record<string, string>
  bin: Record<string, string>
  exports: Record<string, string | Record<string, string>>
  files: string[]
  scripts: Record<string, string>
  dependencies: Record<string, string>
  devDependencies: Record<string, string>
}

const manifest = JSON.parse(read('package.json')) as PackageJson

/** The whole top level; tools' dotfiles included, build outputs not. */
const TOP_LEVEL = [
  '.ci',
  '.editorconfig',
  '.gitignore',
  '.npmrc',
  '.oxfmtrc.json',
  '.oxlintrc.json',
  'CHANGELOG.md',
  'LICENSE',
  'README.md',
  'bin',
  'calibration',
  'docs',
  'export',
  'package-lock.json',
  'package.json',
  'src',
  'test',
  'tsconfig.build.json',
  'tsconfig.json',
  'vitest.config.ts',
]

function read(path: string): string {
  return readFileSync(new URL(path, ROOT), 'utf8')
}

describe('package.json', () => {
  it('pins every dependency exactly: numerics and providers change with them', () => {
    const versions = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })
    expect(versions.length).toBeGreaterThan(10)
    expect(versions.filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([])
  })

  it('is ESM for Node 20.19 and later, Apache-2.0', () => {
    const { type, sideEffects, engines, license } = manifest
    expect({ type, sideEffects, engines, license }).toEqual({
      type: 'module',
      sideEffects: false,
      engines: { node: '>=20.19' },
      license: 'Apache-2.0',
    })
    expect(read('LICENSE')).toContain('Apache License')
  })

  it('exports the library with types first, and nothing else but itself', () => {
    expect(Object.keys(manifest.exports)).toEqual(['.', './package.json'])
    expect(Object.keys(manifest.exports['.']!)).toEqual(['types', 'default'])
  })

  it('ships what the command needs at run time', () => {
    expect(manifest.bin).toEqual({ spexpand: './dist/bin/spexpand.js' })
    expect(manifest.files).toEqual([
      'dist',
      '!dist/native',
      'prebuilds',
      'src/native',
      'calibration/corpora',
      'calibration/demo-model',
      'export/schema',
      'CHANGELOG.md',
    ])
  })

  it('checks everything with one word', () => {
    expect(manifest.scripts['test']).toBe('npm run lint && npm run typecheck && npm run build && npm run unit')
  })

  it('is named in the changelog with its version', () => {
    expect(read('CHANGELOG.md')).toMatch(new RegExp(`^## ${manifest.version.replaceAll('.', '\\.')}\\b`, 'm'))
  })

  it('satisfies publint (after npm run build)', async () => {
    const { messages } = await publint({ pkgDir: ROOT.pathname, strict: true, pack: 'npm' })
    expect(messages).toEqual([])
  }, 60_000)
})

describe('the top level', () => {
  it('holds nothing unplanned', () => {
    const ignored = read('.gitignore').split('\n').filter(Boolean)
    const isIgnored = (name: string): boolean =>
      ignored.some(
        (line) => line === name || line === `${name}/` || (line.startsWith('*') && name.endsWith(line.slice(1))),
      )
    const entries = readdirSync(ROOT).filter((name) => name !== '.git' && !isIgnored(name))
    expect(entries.filter((name) => !TOP_LEVEL.includes(name))).toEqual([])
    expect(TOP_LEVEL.filter((name) => !entries.includes(name))).toEqual([])
  })
})
