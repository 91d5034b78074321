import { describe, expect, it } from 'vitest'
import { createRng } from '../../../src/linalg/rng.ts'
import { openShardPool } from '../../../src/pipeline/predict/shard-pool.ts'
import { shardedTopK } from '../../../src/predict/shards.ts'
import { matOf } from '../../../src/tensor/mat.ts'

describe('openShardPool()', () => {
  it.each([1, 2, 4])('selects over %i threads what shardedTopK() selects, and sends 8 bytes a pair', async (shards) => {
    const { uniform } = createRng(3)
    const [n, d, k] = [403, 16, 24]
    const W = matOf(
      n,
      d,
      Float32Array.from({ length: n * d }, () => uniform() - 0.5),
    )
    const pool = openShardPool(W, shards)
    try {
      for (const slack of [0, 3]) {
        const x = Float32Array.from({ length: d }, () => uniform() - 0.5)
        const scores = Float32Array.from({ length: n }, (_, i) => {
          let sum = 0
          for (let j = 0; j < d; j++) sum += W.data[i * d + j]! * x[j]!
          return sum
        })
        const { selected, bytes } = await pool.topK(x, k, slack)
        expect(selected).toEqual(shardedTopK(scores, k, shards, slack).selected)
        expect(bytes).toBe(shards * (Math.ceil(k / shards) + slack) * 8)
      }
    } finally {
      await pool.close()
    }
  })

  it('refuses more shards than rows', () => {
    expect(() => openShardPool(matOf(2, 1, new Float32Array(2)), 3)).toThrow('wanted 1 to 2')
  })
})
