import { BINS } from '../../entangle/grid.ts'
import type { EntangleReport, LayerMixture, MatrixReport } from '../../entangle/types.ts'
import type { OpenedModel } from '../../model/open.ts'
import { createBlas } from '../../runtime/blas.ts'
import type { Artifact } from '../../verify/artifact.ts'
import type { ArtifactManifest } from '../../verify/manifest.ts'
import { runAttention } from '../block.ts'
import { solveBaseline } from './baseline.ts'
import { propagateDown, routeDown } from './down-routing.ts'
import type { ExpansionColumns, ExpansionSlots } from './expansion.ts'
import { measureExpansion } from './expansion.ts'
import { histogramSlots, WD_TOLERANCE } from './layer.ts'
import type { EntangleOptions } from './options.ts'
import { headOf, matrixReports, productsOf, settingsOf } from './parts.ts'
import { expansionOf } from './rows.ts'
import { routeWithMargins, usageOf } from './routing.ts'
import type { BegunRun } from './run.ts'
import { beginRun } from './run.ts'
import type { BlockReader } from './source.ts'
import { openBaseline, openBlocks, openDenseOf } from './source.ts'
import type { MatrixName, PackedFfn } from '../jobs.ts'
import type { Groups } from '../segments.ts'
import { groupsOf, segmentsOf } from '../segments.ts'

/** Histograms of a whole layer that one job keeps busy: dense, mixture, baseline; and its share of the total. */
const HISTOGRAMS_PER_JOB = 4

/**
 * entangle() of an artifact: every layer on the FF inputs that reach it in the artifact itself, against the dense weights
 * on the same inputs.
 */
export async function entangleArtifact(options: EntangleOptions, artifact: Artifact): Promise<EntangleReport> {
  const settings = settingsOf({ ...calibrationOf(artifact.manifest), ...options })
  const model = await openDenseOf(artifact, options.dense)
  const blocks = openBlocks(artifact, model)
  const baselines = options.baseline === undefined ? undefined : openBaseline(options.baseline, artifact, model)
  try {
    const begun = await beginRun(model, options, settings, HISTOGRAMS_PER_JOB)
    try {
      const measured = await measureLayers(begun, options, { artifact, blocks, baselines, model, top: settings.top })
      const { experts, sparsity } = artifact.manifest.mixture
      const head = await headOf(model, artifact.folder, settings, begun.windows)
      return {
        ...head,
        products: productsOf(options),
        kind: 'artifact',
        matrices: measured.matrices,
        mixture: {
          experts,
          sparsity,
          baseline: baselines
            ? `the one-expert artifact ${options.baseline}`
            : 'one expert, solved on the measured tokens',
          layers: measured.layers,
        },
        wdBound: measured.wdBound,
        notes: [...measured.notes, ...fairness(artifact.manifest, head.text.tokensSha256, baselines !== undefined)],
      }
    } finally {
      await begun.close()
    }
  } finally {
    blocks.close()
    baselines?.close()
    model.close()
  }
}

/** Tokens, windows and seed that the artifact was calibrated with: the defaults of its report. */
function calibrationOf({ options }: ArtifactManifest): Pick<EntangleOptions, 'tokens' | 'sequenceLength' | 'seed'> {
  const { tokens, sequenceLength, seed } = options
  return { tokens: Number(tokens), sequenceLength: Number(sequenceLength), seed: Number(seed) }
}

/** A baseline that saw the measured tokens, when the mixture did not, makes RI too small. */
function fairness({ options }: ArtifactManifest, tokensSha256: string, given: boolean): string[] {
  if (given || options['calibrationSha256'] === tokensSha256) return []
  return [
    'The baseline was solved on the measured tokens, the mixture on others: RI is smaller than it would be on equal terms. ' +
      'Measure on the calibration text, or give a one-expert artifact with --baseline',
  ]
}

type Sources = {
  readonly artifact: Artifact
  readonly blocks: BlockReader
  readonly baselines: BlockReader | undefined
  readonly model: OpenedModel
  readonly top: number
}

async function measureLayers(
  { run, windows }: BegunRun,
  options: EntangleOptions,
  { artifact, blocks, baselines, model, top }: Sources,
): Promise<Pick<EntangleReport, 'matrices' | 'wdBound' | 'notes'> & { layers: LayerMixture[] }> {
  const { layers: depth } = model.config
  const blas = await createBlas(1)
  const slots: ExpansionSlots = {
    total: new SharedArrayBuffer(run.neurons * BINS * 4),
    mixture: histogramSlots(run.neurons, run.slots.length),
    baseline: histogramSlots(run.neurons, run.slots.length),
  }
  const matrices: MatrixReport[] = []
  const layers: LayerMixture[] = []
  const notes: string[] = []
  let wdBound = 0
  let expertBound = 0
  for (let layer = 0; layer < depth; layer++) {
    options.onProgress?.({ stage: 'calibrate', done: layer, total: depth, block: layer, blocks: depth })
    await runAttention(run, layer)
    const { ffns, router, downRouter } = blocks.block(layer)
    const { labels, margin } = await routeWithMargins(run.ffnIn, router, blas)
    const groups = groupsOf(labels, ffns.length)
    const baseline = baselines?.block(layer).ffns[0] ?? (await solveBaseline(run, layer, artifact.manifest))
    const columns = await measureExpansion(run, layer, groups, ffns, baseline, slots)
    const down = downRouter && (await routeDown(run, layer, groups, ffns, downRouter, blas))
    // Down has its own experts on its own groups: measured by themselves, of which only the rows of down count.
    const downColumns = down ? await measureExpansion(run, layer, down.groups, ffns, baseline, slots) : columns
    await (down ? propagateDown(run, layer, down, ffns) : propagate(run, layer, groups, ffns))
    down?.intermediates.close()
    wdBound = Math.max(wdBound, largestBound(columns))
    expertBound = Math.max(expertBound, columns.expertBound, downColumns.expertBound)
    matrices.push(
      ...matrixReports(model, layer, columns, top).map((report, i) => ({
        ...report,
        expansion: expansionOf(
          report.matrix === 'down_proj' ? downColumns : columns,
          run.parts[i]!,
          report.matrix,
          inputsOf(model, report.matrix),
          ffns,
        ),
      })),
    )
    layers.push({
      layer,
      tokensPerExpert: groups.map((group) => group.length),
      ...(down ? { tokensPerDownExpert: down.groups.map((group) => group.length) } : {}),
      usage: usageOf(labels, windows, ffns.length),
      margin,
    })
  }
  if (wdBound > WD_TOLERANCE) notes.push(`WD is known to ±${wdBound.toExponential(1)} only: outputs spread unevenly`)
  if (expertBound > WD_TOLERANCE)
    notes.push(
      `WD by expert is known to ±${expertBound.toExponential(1)}: outputs on the tokens of one expert spread less than on all`,
    )
  return { matrices, layers, wdBound, notes }
}

function inputsOf({ config }: Sources['model'], matrix: MatrixName): number {
  return matrix === 'down_proj' ? config.ff : config.hidden
}

function largestBound({ bound }: ExpansionColumns): number {
  return bound.reduce((max, value) => Math.max(max, value), 0)
}

/** hidden += every token's expert. */
async function propagate(
  run: BegunRun['run'],
  layer: number,
  groups: Groups,
  ffns: readonly PackedFfn[],
): Promise<void> {
  await Promise.all(
    groups.flatMap((group, e) =>
      segmentsOf(group).map((rows) =>
        run.runner.run({ kind: 'propagate', layer, rows, ffnIn: run.ffnIn.ref, hidden: run.hidden.ref, ffn: ffns[e]! }),
      ),
    ),
  )
}
