import { defineConfig } from 'vitest/config'

// Tables are run like tests, one after the other in one process: `npm run bench`.
export default defineConfig({
  test: {
    include: ['test/bench/**/*.table.ts'],
    root: new URL('../..', import.meta.url).pathname,
    pool: 'forks',
    maxWorkers: 1,
    fileParallelism: false,
    disableConsoleIntercept: true,
    reporters: ['dot'],
  },
})
