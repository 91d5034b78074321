import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { RowStore } from '../../src/pipeline/rowstore.ts'

const folder = mkdtempSync(join(tmpdir(), 'spexpand-rows-'))
afterAll(() => rmSync(folder, { recursive: true }))

describe.each([
  ['in memory', undefined],
  ['in a file', join(folder, 'rows')],
])('RowStore %s', (_, path) => {
  it('gives back what was written, whichever instance reads it', () => {
    const store = RowStore.create(5, 3, path)
    store.write(1, Float32Array.of(1, 2, 3, 4, 5, 6))
    const other = new RowStore(store.ref)
    const rows = new Float32Array(9)
    other.read(0, rows)
    expect([...rows]).toEqual([0, 0, 0, 1, 2, 3, 4, 5, 6])
    store.close()
    other.close()
  })

  it('gather(), scatterAdd() and scatter() touch exactly the named rows', () => {
    const store = RowStore.create(4, 2, path)
    store.write(0, Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8))
    store.scatterAdd(Uint32Array.of(3, 0), Float32Array.of(10, 20, 30, 40))
    store.scatter(Uint32Array.of(1), Float32Array.of(-1, -2))
    const out = new Float32Array(8)
    store.gather(Uint32Array.of(3, 2, 1, 0), out)
    expect([...out]).toEqual([17, 28, 5, 6, -1, -2, 31, 42])
    store.close()
  })
})

it('RowStore.read() past the end of its file says so', () => {
  const path = join(folder, 'short')
  const store = RowStore.create(2, 2, path)
  expect(() => store.read(2, new Float32Array(2))).toThrow(/ends early/)
  store.close()
})
