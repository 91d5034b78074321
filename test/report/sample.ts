import { topIndices } from '../../src/entangle/ranking.ts'
import type { EntangleReport, MatrixReport } from '../../src/entangle/types.ts'
import { createRng } from '../../src/linalg/rng.ts'

const EXPERTS = 3

function column(n: number, of: () => number): number[] {
  return Array.from({ length: n }, of)
}

/** A report of two layers, 60 gate and up neurons and 40 down neurons, of an artifact when `expanded`. */
export function sampleReport(expanded: boolean): EntangleReport {
  const rng = createRng(11)
  const matrix = (layer: number, name: MatrixReport['matrix']): MatrixReport => {
    const n = name === 'down_proj' ? 40 : 60
    const wd = column(n, () => 0.02 + rng.uniform() ** 3)
    const measure = (): number[] => column(n, () => 0.5 + rng.uniform())
    const wasserstein = topIndices(wd, 0.1)
    return {
      layer,
      matrix: name,
      wd,
      md: measure(),
      mean: column(n, () => rng.normal()),
      variance: measure(),
      kurtosis: measure(),
      weight: measure(),
      wasserstein,
      shapes: wasserstein.slice(0, 2).map((neuron) => ({ neuron, shares: column(48, () => rng.uniform() / 24) })),
      ...(expanded
        ? {
            expansion: {
              expertWd: wd.map((v) => v / 2),
              expertMd: measure(),
              randomWd: wd,
              ri: wd.map((v) => 1 + v),
              prunedWd: measure(),
              baselinePrunedWd: measure(),
              error: measure(),
              baselineError: measure(),
              sparsity: measure().map((v) => v / 2),
              errorPerExpert: column(EXPERTS, () => rng.uniform()),
            },
          }
        : {}),
    }
  }
  return {
    reportVersion: 1,
    tool: { name: 'spexpand', version: '0.0.0' },
    kind: expanded ? 'artifact' : 'model',
    model: 'a<b>&"c"',
    sourceSha256: 'a'.repeat(64),
    shape: { layers: 2, hidden: 40, ff: 60 },
    options: { tokens: 4096, sequenceLength: 128, seed: 0, pairs: 100, top: 0.1 },
    products: 'onnxruntime',
    text: { documents: 3, domains: { law: 3000, 'x, "y"': 1096 }, tokensSha256: 'b'.repeat(64) },
    matrices: [0, 1].flatMap((layer) => [
      matrix(layer, 'gate_proj'),
      matrix(layer, 'up_proj'),
      matrix(layer, 'down_proj'),
    ]),
    ...(expanded
      ? {
          mixture: {
            experts: EXPERTS,
            sparsity: 0.7,
            baseline: 'one expert, solved on the measured tokens',
            layers: [0, 1].map((layer) => ({
              layer,
              tokensPerExpert: [3000, 1000, 96],
              usage: [
                [2500, 500, 0],
                [500, 500, 96],
              ],
              margin: [0.1, 0.3, 0.6] as const,
            })),
          },
        }
      : {}),
    wdBound: 5e-4,
    notes: ['layer 1: something <odd>'],
  }
}
