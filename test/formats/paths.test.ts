import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { FormatError } from '../../src/errors.ts'
import { fileInFolder, isInsideFolder } from '../../src/formats/paths.ts'
import { temporaryFolder } from './temp.ts'

const scratch = temporaryFolder()

function snapshot(model: string): string {
  return path.join(scratch, `models--${model}`, 'snapshots', 'a'.repeat(40))
}

describe('isInsideFolder()', () => {
  it.each(['../x', 'a/../../x', '/etc/passwd', 'C:\\x', 'a\\b', 'a//b', '', 'a\0b', 'a/'])('refuses %j', (name) => {
    expect(isInsideFolder(name)).toBe(false)
  })

  it.each(['x', 'a/b.safetensors', '..x', 'x..'])('takes %j', (name) => {
    expect(isInsideFolder(name)).toBe(true)
  })
})

describe('fileInFolder()', () => {
  const folder = path.join(scratch, 'model')
  fs.mkdirSync(path.join(folder, 'parts'), { recursive: true })
  fs.mkdirSync(path.join(scratch, 'model-beside'))
  for (const file of ['secret', 'model/own', 'model/parts/one', 'model-beside/x'])
    fs.writeFileSync(path.join(scratch, file), file)

  it('gives files of the folder, links inside it, and nothing for what is not there', () => {
    fs.symlinkSync('own', path.join(folder, 'alias'))
    fs.symlinkSync('parts', path.join(folder, 'pieces'))
    for (const name of ['own', 'alias', 'parts/one', 'pieces/one'])
      expect(fileInFolder(folder, name)).toBe(path.join(folder, name))
    expect(fileInFolder(folder, 'nothing')).toBeUndefined()
    fs.symlinkSync('nowhere', path.join(folder, 'dangling'))
    expect(fileInFolder(folder, 'dangling')).toBeUndefined()
  })

  it.each([
    ['out', '../secret'],
    ['absolute', path.join(scratch, 'secret')],
    ['beside', '../model-beside/x'],
    ['system', '/proc/self/environ'],
  ])('refuses the link %s -> %s', (name, target) => {
    fs.symlinkSync(target, path.join(folder, name))
    expect(() => fileInFolder(folder, name)).toThrow(FormatError)
    expect(() => fileInFolder(folder, name)).toThrow(/is a link that leads out of its folder, to .*cp -L/)
  })

  it('refuses a folder that is a link out, and takes a model that is reached by one', () => {
    fs.symlinkSync('..', path.join(folder, 'up'))
    expect(() => fileInFolder(folder, 'up/secret')).toThrow(FormatError)
    fs.symlinkSync(folder, path.join(scratch, 'by-link'))
    expect(fileInFolder(path.join(scratch, 'by-link'), 'own')).toBe(path.join(scratch, 'by-link', 'own'))
  })

  it("takes the hub's own links to the blobs of the same model only", () => {
    for (const model of ['o--one', 'o--two']) {
      fs.mkdirSync(path.join(scratch, `models--${model}`, 'blobs'), { recursive: true })
      fs.writeFileSync(path.join(scratch, `models--${model}`, 'blobs', 'f'), model)
      fs.mkdirSync(snapshot(model), { recursive: true })
    }
    fs.symlinkSync('../../blobs/f', path.join(snapshot('o--one'), 'own'))
    fs.symlinkSync('../../../models--o--two/blobs/f', path.join(snapshot('o--one'), 'other'))
    expect(fileInFolder(snapshot('o--one'), 'own')).toBeDefined()
    fs.symlinkSync(snapshot('o--one'), path.join(scratch, 'short'))
    expect(fileInFolder(path.join(scratch, 'short'), 'own')).toBeDefined()
    fs.mkdirSync(path.join(snapshot('o--one'), 'sub'))
    fs.symlinkSync('../../../blobs/f', path.join(snapshot('o--one'), 'sub', 'own'))
    expect(fileInFolder(path.join(snapshot('o--one'), 'sub'), 'own')).toBeDefined()
    expect(() => fileInFolder(snapshot('o--one'), 'other')).toThrow(FormatError)
  })
})
