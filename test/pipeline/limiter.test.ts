import { expect, it } from 'vitest'
import { inOrder, limiter } from '../../src/pipeline/limiter.ts'

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

it('inOrder() gives results in the order of the items, few of them ahead', async () => {
  let begun = 0
  let taken = 0
  let most = 0
  const begin = async (i: number): Promise<number> => {
    most = Math.max(most, ++begun - taken)
    for (let turn = 0; turn <= (7 * i) % 5; turn++) await Promise.resolve()
    return i * i
  }
  const results: number[] = []
  for await (const result of inOrder([0, 1, 2, 3, 4, 5, 6], begin, 3)) {
    results.push(result)
    taken++
  }
  expect(results).toEqual([0, 1, 4, 9, 16, 25, 36])
  expect(most).toBe(3)
})

async function failing(i: number): Promise<number> {
  if (i === 2) throw new Error('later')
  if (i === 1) {
    await new Promise((resolve) => setTimeout(resolve, 5))
    throw new Error('earlier')
  }
  return i
}

it('inOrder() fails with the first failure in their order', async () => {
  const results: number[] = []
  const all = (async () => {
    for await (const result of inOrder([0, 1, 2], failing, 3)) results.push(result)
  })()
  await expect(all).rejects.toThrow('earlier')
  expect(results).toEqual([0])
})
