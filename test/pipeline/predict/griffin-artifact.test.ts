import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { demoModelFolder } from '../../../calibration/bundled.ts'
import { readSafetensors } from '../../../src/formats/safetensors/reader.ts'
import { openTokenizer } from '../../../src/model/tokenizer.ts'
import { generate } from '../../../src/pipeline/generate.ts'
import { openGriffin } from '../../../src/pipeline/predict/griffin-option.ts'
import { collectStatistics, maskContinuations, rankerOf } from '../../../src/pipeline/predict/griffin-sets.ts'
import { openGriffinSource } from '../../../src/pipeline/predict/griffin-source.ts'
import { predict } from '../../../src/pipeline/predict/predict.ts'
import { openGraphScorer } from '../../../src/pipeline/predict/score.ts'
import { evaluationText } from '../../../src/pipeline/text.ts'
import { checkIntegrity, openArtifact, readGraph } from '../../../src/verify/artifact.ts'
import { createDecoder } from '../../../src/verify/decoder.ts'
import { graphHiddenSource } from '../../../src/verify/hidden.ts'
import { inspect } from '../../../src/verify/inspect.ts'
import { maxDifference } from '../../fixtures/decoder.ts'
import type { RandomArtifact } from '../../fixtures/randomArtifact.ts'
import { randomArtifact } from '../../fixtures/randomArtifact.ts'

const TEXT = 'And it came to pass, when the king heard these words, that he rent his clothes and went'
const T = 24
const PROMPT = 12
const kinds = ['shared', 'split', 'none'] as const
const artifacts = new Map<(typeof kinds)[number], RandomArtifact>()
beforeAll(async () => {
  for (const kind of kinds)
    artifacts.set(
      kind,
      await randomArtifact({
        model: demoModelFolder(),
        experts: kind === 'none' ? 1 : 2,
        sparsity: 0.3,
        split: kind === 'split',
      }),
    )
}, 120_000)
afterAll(() => artifacts.forEach(({ folder }) => rmSync(join(folder, '..'), { recursive: true, force: true })))

describe('openArtifactWalk()', { timeout: 120_000 }, () => {
  it.each(['shared', 'split'] as const)('computes the hidden states of the whole graph (router: %s)', async (kind) => {
    const { folder } = artifacts.get(kind)!
    const windows = await evaluationText(folder, { windows: 3, sequenceLength: T })
    const source = await openGriffinSource(folder, 'cpu')
    const walk = await source.walk(1)
    const inputs: Float32Array[] = []
    const whole = await walk.run({ windows, onHidden: (_, hidden) => inputs.push(hidden.slice()) })
    const wanted = await graphHiddenSource(source.decoder.graph, { folder, threads: 1 })
    // The same operators on other numbers of rows: float32 sums in another order, through 8 blocks.
    expect(maxDifference(whole, await wanted.hidden(windows, 0, 3))).toBeLessThan(2e-3)
    expect(await walk.run({ windows, from: { layer: 5, hidden: inputs[5]! } })).toEqual(whole)
    await wanted.release()
    await walk.release()
    source.close()
  })
})

describe('GriffinDecoder on an artifact', { timeout: 120_000 }, () => {
  it.each(['shared', 'split'] as const)('gives the quality that the walk measures (router: %s)', async (kind) => {
    const { folder } = artifacts.get(kind)!
    const source = await openGriffinSource(folder, 'cpu')
    const windows = await evaluationText(folder, { windows: 1, sequenceLength: T })
    const { decoder } = await openGriffin({ density: 0.5 }, source, { threads: 1, provider: 'cpu' })
    const ids = [...windows.ids]
    await decoder.step(ids.slice(0, PROMPT))
    let nll = 0
    for (let t = PROMPT; t < T - 1; t++) nll -= logProbability(await decoder.step([ids[t]!]), ids[t + 1]!)
    const walk = await source.walk(1)
    const { statistics, onFf } = collectStatistics(source, 1, T, PROMPT)
    const plain = await walk.run({ windows, onFf })
    const densities = Array<number>(8).fill(0.5)
    const sets = { densities, rank: rankerOf(source, 'statistic'), method: 'top-k' as const, seed: 0 }
    const hidden = await walk.run({ windows, onFf: maskContinuations(statistics, T, PROMPT, sets) })
    const scorer = await openGraphScorer(source.decoder, windows, PROMPT, 1)
    const { quality } = await scorer.scores(hidden, plain)
    expect(decoder.form.name).toBe('masked')
    expect(nll / (T - 1 - PROMPT)).toBeCloseTo(quality.nll, 3)
    await scorer.release()
    await walk.release()
    await decoder.release()
    source.close()
  })

  it('reproduces the artifact at density 1', async () => {
    const { folder } = artifacts.get('shared')!
    const source = await openGriffinSource(folder, 'cpu')
    const { decoder } = await openGriffin({ density: 1 }, source, { threads: 1, provider: 'cpu' })
    const plain = await createDecoder({ ...source.decoder, threads: 1 })
    const ids = [...openTokenizer(folder).encodePrompt(TEXT)]
    expect(await decoder.step(ids)).toEqual(await plain.step(ids))
    expect(await decoder.step([7])).toEqual(await plain.step([7]))
    await plain.release()
    await decoder.release()
    source.close()
  })
})

describe('predict() on an artifact', { timeout: 120_000 }, () => {
  it('amends it in the three places, and generate() reads that back', async () => {
    const { folder } = artifacts.get('none')!
    const small = { windows: 2, sequenceLength: T, promptTokens: PROMPT, threads: 1, provider: 'cpu' } as const
    const { griffin, amended } = await predict({ ...small, model: folder, density: 0.25, scores: 'statistic-down' })
    expect(amended).toBe(folder)
    const artifact = openArtifact(folder)
    await checkIntegrity(artifact)
    const { order, ...section } = griffin
    expect(artifact.manifest.griffin).toEqual(JSON.parse(JSON.stringify(section)))
    expect(griffin.model).toEqual({ kind: 'artifact', experts: 1, router: 'none' })
    const { tensors, metadata } = readSafetensors(join(folder, 'model.safetensors'))
    const stored = tensors.get('model.layers.3.mlp.griffin.order')!
    expect([...new Int32Array(stored.bytes.slice().buffer)]).toEqual(order[3])
    const { graph, metadataProps } = readGraph(folder)
    const onModel = metadataProps.find(({ key }) => key === 'spexpand.griffin')!.value
    expect(onModel).toBe(metadata.get('spexpand.griffin'))
    expect(JSON.parse(onModel)).toMatchObject({
      formatVersion: 1,
      scores: 'statistic-down',
      densities: griffin.densities,
    })
    const products = graph.node.filter(({ opType }) => opType === 'SparseExpertMatMul')
    for (const { metadataProps: onNode } of products)
      expect(onNode).toEqual(
        expect.arrayContaining([
          { key: 'spexpand.griffin.density', value: '0.25' },
          { key: 'spexpand.griffin.neurons', value: '192' },
        ]),
      )
    expect(products).toHaveLength(24)
    expect(readFileSync(join(folder, 'griffin.html'), 'utf8')).toContain('GRIFFIN on')
    expect(inspect(folder)).toMatchObject({ griffin: { scores: 'statistic-down', densities: griffin.densities } })
    const result = await generate({ model: folder, prompt: TEXT, maxNewTokens: 3, griffin: 'auto', threads: 1 })
    expect(result.griffin).toMatchObject({ neurons: Array(8).fill(192), scores: 'statistic-down', from: 'artifact' })
    await expect(predict({ ...small, model: folder, speed: true })).rejects.toThrow('only set to 0')
  })
})

function logProbability(logits: Float32Array, id: number): number {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity)
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - most), 0)
  return logits[id]! - most - Math.log(sum)
}
