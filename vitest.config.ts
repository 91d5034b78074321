import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // onnxruntime and the worker pool are native threads: forked processes keep one crash from hiding other results.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    benchmark: { include: ['test/bench/**/*.bench.ts'] },
  },
})
