import type { Command } from 'commander'
import type { GenerateOptions } from '../src/index.ts'
import { decimal } from './flags.ts'

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
