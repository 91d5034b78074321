// One worker of the parallel benchmark: solves the same problem whenever it is asked to. Runs the built package.
import { parentPort, workerData } from 'node:worker_threads'
import { createSolver } from '../../dist/src/prune/sparsegpt.js'
import { createBlas } from '../../dist/src/runtime/blas.js'

const { W, H, outputs, inputs, sparsity } = workerData
const solver = createSolver(await createBlas(1), inputs, outputs)

parentPort.on('message', async () => {
  await solver.factor(H, inputs)
  const { loss } = await solver.prune(W, outputs, { kind: 'unstructured', sparsity })
  parentPort.postMessage(loss, [])
})
parentPort.postMessage('ready', [])
