import { createHash } from 'node:crypto'
import type { Windows } from '../../../calibration/windows.ts'
import { topIndices } from '../../entangle/ranking.ts'
import type { EntangleReport, MatrixReport, ReportOptions } from '../../entangle/types.ts'
import { REPORT_VERSION } from '../../entangle/types.ts'
import { UsageError } from '../../errors.ts'
import { modelName } from '../../model/name.ts'
import type { OpenedModel } from '../../model/open.ts'
import { nativeProducts } from '../../runtime/native-products.ts'
import { TOOL_VERSION } from '../../version.ts'
import { SHAPE } from './jobs.ts'
import type { NeuronColumns } from './layer.ts'
import type { EntangleOptions } from './options.ts'
import { sourceHash } from '../fingerprint.ts'
import { matricesOf, ROLES } from '../jobs.ts'

/** Everything of a report that does not need a measurement. */
export async function headOf(
  model: OpenedModel,
  folder: string,
  options: ReportOptions,
  windows: Windows,
): Promise<Pick<EntangleReport, 'reportVersion' | 'tool' | 'model' | 'sourceSha256' | 'shape' | 'options' | 'text'>> {
  const counts = windows.domainNames.map(() => 0)
  for (const domain of windows.domains) counts[domain]!++
  const { layers, hidden, ff } = model.config
  return {
    reportVersion: REPORT_VERSION,
    tool: { name: 'spexpand', version: TOOL_VERSION },
    model: modelName(folder),
    sourceSha256: (await sourceHash(model)).sha256,
    shape: { layers, hidden, ff },
    options: { ...options, tokens: windows.ids.length },
    text: {
      documents: windows.documents,
      domains: Object.fromEntries(windows.domainNames.map((name, i) => [name, counts[i]!])),
      tokensSha256: createHash('sha256').update(new Uint8Array(windows.ids.buffer)).digest('hex'),
    },
  }
}

/** What the products of a measurement are computed with. */
export function productsOf({ native = true }: EntangleOptions): EntangleReport['products'] {
  return native && nativeProducts() ? 'amx' : 'onnxruntime'
}

/** Defaults filled in. Throws UsageError. */
export function settingsOf(options: EntangleOptions): ReportOptions {
  const settings = {
    tokens: options.tokens ?? 131_072,
    sequenceLength: options.sequenceLength ?? 256,
    seed: options.seed ?? 0,
    pairs: options.pairs ?? 4096,
    top: options.top ?? 0.03,
  }
  if (!(settings.top > 0 && settings.top < 1))
    throw new UsageError(`--top ${settings.top} is out of range: wanted a share of the neurons in (0, 1), e.g. 0.03`)
  if (!Number.isInteger(settings.pairs) || settings.pairs < 1)
    throw new UsageError(`--pairs ${settings.pairs} is out of range: wanted a whole number from 1`)
  return settings
}

/** The columns of a layer cut into its matrices. */
export function matrixReports(model: OpenedModel, layer: number, columns: NeuronColumns, top: number): MatrixReport[] {
  return matricesOf(model.config).map((matrix, i) => {
    const [from, to] = partsOf(model)[i]!
    const cut = (values: Float64Array): number[] => [...values.subarray(from, to)]
    const wd = cut(columns.wd)
    const wasserstein = topIndices(wd, top)
    return {
      layer,
      matrix,
      wd,
      md: cut(columns.md),
      mean: cut(columns.mean),
      variance: cut(columns.variance),
      kurtosis: cut(columns.kurtosis),
      weight: meanMagnitudes(model.matrix(ROLES[matrix], layer), to - from),
      wasserstein,
      shapes: columns.shapes
        .filter(({ neuron }) => neuron >= from && neuron < to)
        .sort((a, b) => b.wd - a.wd || a.neuron - b.neuron)
        .slice(0, SHAPE.neurons)
        .map(({ neuron, shares }) => ({ neuron: neuron - from, shares })),
    }
  })
}

/** Where the neurons of gate, up and down begin and end in the numbering of a layer. */
export function partsOf(model: OpenedModel): (readonly [from: number, to: number])[] {
  const { hidden, ff } = model.config
  const front = matricesOf(model.config).slice(0, -1)
  return [...front.map((_, i) => [i * ff, (i + 1) * ff] as const), [front.length * ff, front.length * ff + hidden]]
}

/** Mean |w| of every row of W. */
function meanMagnitudes(W: Float32Array, rows: number): number[] {
  const cols = W.length / rows
  return Array.from({ length: rows }, (_, i) => {
    let sum = 0
    for (let j = i * cols, end = j + cols; j < end; j++) sum += Math.abs(W[j]!)
    return sum / cols
  })
}
