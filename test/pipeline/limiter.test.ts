import { expect, it } from 'vitest'
import { limiter } from '../../src/pipeline/limiter.ts'

it('limiter() runs every task, in order, at most `limit` at once', async () => {
  const limit = limiter(3)
  const begun: number[] = []
  let running = 0
  let most = 0
  await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      limit(async () => {
        begun.push(i)
        most = Math.max(most, ++running)
        for (let turn = 0; turn <= i % 4; turn++) await Promise.resolve()
        running--
      }),
    ),
  )
  expect(begun).toEqual(Array.from({ length: 20 }, (_, i) => i))
  expect(most).toBe(3)
})

it('limiter() lets the next task run after one failed', async () => {
  const limit = limiter(1)
  const failed = limit(() => Promise.reject(new Error('no')))
  const next = limit(() => Promise.resolve('yes'))
  await expect(failed).rejects.toThrow('no')
  await expect(next).resolves.toBe('yes')
})
