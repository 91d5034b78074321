import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FormatError, IntegrityError } from '../../src/errors.ts'
import type { OpenedModel } from '../../src/model/open.ts'
import { openModel } from '../../src/model/open.ts'
import { sourceHash } from '../../src/pipeline/fingerprint.ts'
import { resolveOptions } from '../../src/pipeline/options.ts'
import { profileFromReport } from '../../src/pipeline/profile.ts'
import { tinyFolder } from '../fuzz/tiny-model.ts'

let scratch: string
let model: OpenedModel
beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'spexpand-report-'))
  model = openModel(await tinyFolder(scratch))
})
afterAll(() => {
  model.close()
  rmSync(scratch, { recursive: true, force: true })
})

/** What profileFromReport() makes of a report of these matrices. */
async function propose(
  matrices: readonly object[],
  mixture: object | undefined,
  sourceSha256?: string,
): Promise<unknown> {
  const path = join(scratch, 'entanglement.json')
  const sha256 = sourceSha256 ?? (await sourceHash(model)).sha256
  writeFileSync(
    path,
    JSON.stringify({ reportVersion: 1, sourceSha256: sha256, shape: { layers: 1 }, mixture, matrices }),
  )
  return profileFromReport(path, model, resolveOptions({}), 0)
}

describe('profileFromReport()', () => {
  const mixture = { experts: 4, sparsity: 0.7 }
  const expansion = { ri: [1, 2], error: [0.1, 0.2] }

  it('takes a report in which every layer is measured', async () => {
    expect(await propose([{ layer: 0, wd: [0.1, 0.2] }], undefined)).toMatchObject({ layers: [{ experts: 16 }] })
    expect(await propose([{ layer: 0, wd: [0.1], expansion }], mixture)).toMatchObject({ layers: [{ experts: 16 }] })
  })

  it('refuses one of another model', async () => {
    const ofAnother = propose([{ layer: 0, wd: [0.1] }], undefined, '0'.repeat(64))
    await expect(ofAnother).rejects.toThrow(IntegrityError)
  })

  it('refuses one in which a layer, or its expansion, is missing', async () => {
    await expect(propose([{ layer: 5, wd: [0.1] }], undefined)).rejects.toThrow(FormatError)
    await expect(propose([{ layer: 5, wd: [0.1] }], undefined)).rejects.toThrow(/it has no matrix of layer 0/)
    const half = [
      { layer: 0, wd: [0.1], expansion },
      { layer: 0, wd: [0.1] },
    ]
    await expect(propose(half, mixture)).rejects.toThrow(/it is of a mixture, but layer 0 has no expansion/)
  })
})
