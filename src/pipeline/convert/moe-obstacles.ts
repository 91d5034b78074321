import type { ModelConfig } from '../../model/config.ts'
import type { Family } from '../../model/families.ts'

/** What a block has that llama's, whatever its FF layer, has not. */
export function blockObstacles(config: ModelConfig, { tensors, transposed }: Family): string[] {
  const { headDim, rotaryDim, norm } = config
  const found: [boolean, string][] = [
    [config.rope === null, 'learned positions'],
    [config.localRope !== null, 'a second rotary embedding'],
    [config.rope !== null && rotaryDim !== headDim, `a rotary embedding of ${rotaryDim} of ${headDim} dimensions`],
    [norm !== 'rms', norm === 'layer' ? 'LayerNorm' : 'norms that multiply by 1 + weight'],
    [tensors.queryNorm !== undefined || tensors.keyNorm !== undefined, 'norms of queries and keys'],
    [tensors.attentionPostNorm !== undefined || tensors.ffnPostNorm !== undefined, 'norms behind a layer'],
    [config.parallel, 'parallel attention and FF layer'],
    [!config.gated, 'FF layers without a gate'],
    [transposed || tensors.qkv !== undefined, 'fused or transposed matrices'],
    [config.biases.length > 0, `biases (${config.biases.join(', ')})`],
    [config.attentionScale !== headDim ** -0.5, 'a scale of attention of its own'],
    [config.attentionSoftcap !== null || config.logitSoftcap !== null, 'a soft cap'],
    [
      config.logitScale !== 1 || config.embeddingScale !== 1 || config.residualScale !== 1,
      'multipliers of embedding, residual or logits',
    ],
    [config.noRopeLayers.length > 0, 'layers without rotary embedding'],
    [config.slidingWindow !== null && config.slidingLayers !== 'all', 'a window in some layers only'],
  ]
  return found.flatMap(([is, what]) => (is ? [what] : []))
}
