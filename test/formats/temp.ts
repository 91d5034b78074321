import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll } from 'vitest'

/** A folder of this test file's own, removed when its tests are done. */
export function temporaryFolder(): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'spexpand-test-'))
  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))
  return folder
}
