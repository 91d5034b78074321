import { calibrationCorpus, evaluationCorpus } from '../../calibration/bundled.ts'
import type { CorpusOptions } from '../../calibration/corpus.ts'
import type { Windows } from '../../calibration/windows.ts'
import { readCalibrationWindows, readEvaluationWindows } from '../../calibration/windows.ts'
import { UsageError } from '../errors.ts'
import type { OpenedModel } from '../model/open.ts'
import { openTokenizer } from '../model/tokenizer.ts'
import { openChatTemplate } from './chat.ts'
import type { TextSource } from './types.ts'

/** Calibration windows of the given text, or of the bundled one. */
export function calibrationText(
  model: Pick<OpenedModel, 'folder' | 'config'>,
  options: {
    readonly text?: TextSource
    readonly tokens: number
    readonly sequenceLength: number
    readonly seed: number
  },
): Promise<Windows> {
  const { tokens, sequenceLength, seed } = options
  assertPositions(model, sequenceLength)
  const { encode, separatorId } = openTokenizer(model.folder)
  return readCalibrationWindows(options.text?.paths ?? [calibrationCorpus()], {
    ...chatOptions(model.folder, options.text),
    tokens,
    sequenceLength,
    seed,
    encode,
    separatorId,
  })
}

/** Evaluation windows of the given text, or of the bundled held-out one; `folder` has the tokenizer. */
export function evaluationText(
  folder: string,
  options: { readonly text?: TextSource; readonly windows: number; readonly sequenceLength: number },
): Promise<Windows> {
  const { windows, sequenceLength } = options
  const { encode, separatorId } = openTokenizer(folder)
  return readEvaluationWindows(options.text?.paths ?? [evaluationCorpus()], {
    ...chatOptions(folder, options.text),
    windows,
    sequenceLength,
    encode,
    separatorId,
  })
}

function chatOptions(folder: string, text: TextSource | undefined): Pick<CorpusOptions, 'renderChat'> {
  return text?.chatTemplate ? { renderChat: openChatTemplate(folder).render } : {}
}

function assertPositions({ config, folder }: Pick<OpenedModel, 'folder' | 'config'>, sequenceLength: number): void {
  if (sequenceLength > config.maxPositions)
    throw new UsageError(
      `--sequence-length ${sequenceLength} is longer than the ${config.maxPositions} positions of ${folder}: lower it`,
    )
}
