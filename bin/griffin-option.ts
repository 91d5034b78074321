import type { Command } from 'commander'
import type { GenerateOptions } from '../src/index.ts'
import { choice, decimal, whole } from './flags.ts'

export const GRIFFIN_SCORES = ['statistic', 'statistic-down', 'count', 'magnitude'] as const
export const SELECTION_METHODS = ['top-k', 'sample', 'mixed'] as const

/** `--scores` and `--select`, for every command that chooses neurons. */
export function addChoosingOptions(command: Command): Command {
  return command
    .option(
      '--scores <kind>',
      `GRIFFIN: neurons by ${GRIFFIN_SCORES.join(', ')} (default: what predict wrote, else statistic)`,
      choice('--scores', GRIFFIN_SCORES),
    )
    .option(
      '--select <method>',
      `GRIFFIN: ${SELECTION_METHODS.join(', ')} of them (default: what predict wrote, else top-k)`,
      choice('--select', SELECTION_METHODS),
    )
}

/** `--seed` of a command whose only draws are those of `--select`. */
export function addSelectSeed(command: Command): Command {
  return command.option(
    '--seed <n>',
    'GRIFFIN: seed of --select sample and mixed (default: what predict wrote, else 0)',
    whole('--seed', { min: 0, max: 2 ** 32 - 1, example: '0' }),
  )
}

/** `--griffin [density|file]`, for commands that run it. */
export function addGriffinOption(command: Command, what: string): Command {
  return command.option(
    '--griffin [density|file]',
    `${what} with the FF neurons that the prompt selects: a share of them, or griffin.json of predict (alone: what predict ` +
      'wrote into the artifact, else 0.5)',
  )
}

/** A number is a density, anything else a file. */
export function griffinOption(value: string | true | undefined): GenerateOptions['griffin'] {
  if (value === undefined) return undefined
  if (value === true) return 'auto'
  if (!/^[\d.+-]/.test(value) || value.startsWith('./') || value.startsWith('../')) return { file: value }
  return { density: decimal('--griffin', { above: 0, max: 1, example: '0.5' })(value) }
}
