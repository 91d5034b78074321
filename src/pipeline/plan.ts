import { foldPeakBytes } from '../../export/artifact.ts'
import type { ExpertsProfile } from '../mixture/profile.ts'
import { UsageError } from '../errors.ts'
import { modelName } from '../model/name.ts'
import type { OpenedModel } from '../model/open.ts'
import { openModel } from '../model/open.ts'
import { createBlas } from '../runtime/blas.ts'
import { nativeProducts } from '../runtime/native-products.ts'
import { freeBytes } from './disk.ts'
import { planMemory } from './memory.ts'
import type { Resolved } from './options.ts'
import { resolveOptions } from './options.ts'
import { probeCosts } from './probe.ts'
import { productsOf } from './products.ts'
import { profileFromReport, profileOf, withProfile, writeProfile } from './profile.ts'
import { compressionSizes } from './sizes.ts'
import { processorMs } from './stopwatch.ts'
import { runTime } from './time-model.ts'
import type { CompressOptions, PlanResult } from './types.ts'

/** Side of the products whose rate is told, and how long they are measured. */
const PRODUCT_SIDE = 1024
const PRODUCT_MS = 1000

/** What a run of compress() with these options will cost and give, without doing it. */
export async function plan(
  options: Omit<CompressOptions, 'out'> & {
    /** Where the artifact would go. @default the current folder */
    readonly out?: string
    /** Measure this machine to estimate the time. @default true */
    readonly probe?: boolean
    /** entanglement.json of this model: proposes experts by layer with a mean of `experts` (proposeProfile()). */
    readonly fromReport?: string
    /** With `fromReport`: zeros by which layers at both ends differ from the mean, a fraction. @default 0 */
    readonly sparsitySpread?: number
    /** With `fromReport`: file to write the profile to, for compress(). */
    readonly profileOut?: string
  },
): Promise<PlanResult> {
  const plain = resolveOptions(options)
  const model = openModel(plain.model)
  try {
    const profile = await planProfile(options, model, plain)
    const resolved = withProfile(plain, profile)
    const memory = planMemory(model, resolved)
    const sizes = compressionSizes(model, resolved, memory)
    const isProbed = options.probe !== false
    if (isProbed) resolved.onProgress?.({ stage: 'time', done: 0, total: 1 })
    const gflops = isProbed ? await productRate(resolved) : 0
    const time = isProbed ? runTime(model, resolved, memory, await probeCosts(model, resolved), sizes) : undefined
    const { config } = model
    const tokensPerExpert = Math.floor(resolved.tokens / resolved.experts)
    const freeDiskBytes = freeBytes(options.out ?? '.')
    return {
      model: modelName(model.folder),
      family: config.modelType,
      blocks: config.layers,
      hidden: config.hidden,
      ff: config.ff,
      parameters: sizes.parameters,
      ffParameters: sizes.ffParameters,
      experts: resolved.experts,
      pattern: resolved.pattern,
      values: resolved.values.type,
      ...('groupSize' in resolved.values ? { groupSize: resolved.values.groupSize } : {}),
      tokens: resolved.tokens,
      ...sizes.ff,
      artifactBytes: sizes.artifactBytes,
      diskBytes: sizes.diskBytes,
      freeDiskBytes,
      memory,
      ...(time ? { probe: { gflops, products: productsOf(resolved) }, ...time } : {}),
      tokensPerExpert,
      ...(profile ? { profile } : {}),
      rankRisk: rankRisk(model, tokensPerExpert),
      warnings: warnings(resolved, sizes, freeDiskBytes),
    }
  } finally {
    model.close()
  }
}

/** The profile that a report proposes, or that the options name. */
async function planProfile(
  options: Parameters<typeof plan>[0],
  model: OpenedModel,
  plain: Resolved,
): Promise<ExpertsProfile | undefined> {
  const { fromReport, sparsitySpread, profileOut, expertsProfile } = options
  if (fromReport === undefined) {
    if (sparsitySpread !== undefined || profileOut !== undefined)
      throw new UsageError('--sparsity-spread and --profile-out belong to --from-report')
    return profileOf(expertsProfile, model, plain)
  }
  if (expertsProfile !== undefined)
    throw new UsageError('--from-report with --experts-profile: the profile is there already: give one of them')
  const profile = await profileFromReport(fromReport, model, plain, sparsitySpread ?? 0)
  if (profileOut !== undefined) writeProfile(profileOut, profile)
  return profile
}

/** Matrices whose experts see fewer tokens than inputs even if all clusters were equal: H is singular there. */
function rankRisk(model: OpenedModel, tokensPerExpert: number): string[] {
  const { hidden, ff } = model.config
  const sides = [
    [model.config.gated ? 'gate_proj, up_proj' : 'up_proj', hidden],
    ['down_proj', ff],
  ] as const
  return sides
    .filter(([, inputs]) => tokensPerExpert < inputs)
    .map(([names, inputs]) => `${names}: ${inputs} inputs, ${tokensPerExpert} tokens per expert`)
}

function warnings(options: Resolved, sizes: ReturnType<typeof compressionSizes>, freeDiskBytes: number): string[] {
  const list: string[] = []
  const groupSize = 'groupSize' in options.values ? options.values.groupSize : 0
  const growth = sizes.ff.ffBytesStored / sizes.ff.ffBytesDense
  if (growth > 1)
    list.push(`FF weights grow ${growth.toFixed(1)}x on disk: every expert is stored; one token reads one of them`)
  if (options.stockBody === 'fold')
    list.push(
      `fold bodies: stock onnxruntime decodes all experts when it loads the model, about ${(foldPeakBytes(sizes.ffParameters, options.experts, groupSize) / 1e9).toFixed(1)} GB of memory`,
    )
  if (sizes.diskBytes > freeDiskBytes)
    list.push(`the disk has ${freeDiskBytes} bytes free, the run needs ${sizes.diskBytes}`)
  list.push('stock onnxruntime gains no speed from these zeros: it needs kernels that skip them')
  return list
}

/** Rate of the single-precision products that the run would use, on one thread, in 10⁹ operations a second. */
async function productRate(options: Resolved): Promise<number> {
  const blas = (options.native ? nativeProducts() : undefined) ?? (await createBlas(1))
  const operand = new Float32Array(PRODUCT_SIDE ** 2).fill(1)
  const C = new Float32Array(PRODUCT_SIDE ** 2)
  const product = (): Promise<void> => blas.gemm(PRODUCT_SIDE, PRODUCT_SIDE, PRODUCT_SIDE, operand, operand, C)
  await product()
  const start = processorMs()
  let runs = 0
  for (; runs < 2 || processorMs() - start < PRODUCT_MS; runs++) await product()
  return (runs * 2 * PRODUCT_SIDE ** 3) / (processorMs() - start) / 1e6
}
