import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { FormatError, IntegrityError } from '../errors.ts'
import type { TensorFile } from '../formats/safetensors/reader.ts'
import { keptCount, rowStartsOf } from '../mixture/bitmask.ts'
import type { ValueForm } from '../mixture/values.ts'
import { VALUE_DTYPES } from '../mixture/values.ts'
import { elementCount } from '../tensor/dtype.ts'
import type { BlockStats, Fallback } from './types.ts'

// The files of an unfinished run are this program's own; but disks fail, and folders are moved about.

const count = z.int().min(0)
const recordSchema = z.object({
  stats: z.object({
    layer: count,
    tokensPerExpert: z.array(count),
    tokensPerDownExpert: z.array(count).exactOptional(),
    matrices: z.array(
      z.object({
        matrix: z.enum(['gate_proj', 'up_proj', 'down_proj']),
        sparsity: z.number(),
        error: z.number(),
        baselineError: z.number(),
        experts: z.array(
          z.object({
            tokens: count,
            error: z.number(),
            damping: z.number(),
            factorizations: count,
            deadInputs: count,
          }),
        ),
      }),
    ),
  }),
  fallbacks: z.array(z.object({ where: z.string(), what: z.string(), because: z.string() })),
})
const fingerprintSchema = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]))

/** The fingerprint in a run.json. Throws FormatError when it is none. */
export function readFingerprint(file: string): Readonly<Record<string, string | number | boolean>> {
  let json: unknown
  try {
    json = JSON.parse(readFileSync(file, 'utf8'))
  } catch (cause) {
    throw new FormatError(`Cannot continue the run of ${file}: it is no JSON: remove --out and start anew`, { cause })
  }
  const result = fingerprintSchema.safeParse(json)
  if (result.success) return result.data
  throw new FormatError(
    `Cannot continue the run of ${file}: it is no fingerprint of a run: remove --out and start anew`,
  )
}

/** A matrix of a block: its tensors are `base`.experts.mask and so on. */
export type StoredMatrix = { readonly base: string; readonly outputs: number; readonly inputs: number }

/**
 * Checks the file of a finished block: types and shapes of the stacks, offsets that count the bits before them, routers of
 * as many experts. Returns what it says of itself. Throws IntegrityError naming the file and what is wrong.
 */
export function checkBlock(
  file: TensorFile,
  matrices: readonly StoredMatrix[],
  form: ValueForm,
): { readonly stats: BlockStats; readonly fallbacks: readonly Fallback[] } {
  const damaged = (what: string): IntegrityError =>
    new IntegrityError(`Cannot continue with ${file.path}: ${what}: remove this file, its block is computed again`)
  for (const matrix of matrices) {
    const wrong = wrongStack(file, matrix, form)
    if (wrong !== undefined) throw damaged(`"${matrix.base}.experts" ${wrong}`)
  }
  for (const { name, shape, dtype } of file.tensors.values()) {
    if (!/\.router\.(weight|bias)$/.test(name)) continue
    const [experts, inputs] = file.get(name.replace(/bias$/, 'weight')).shape
    const wanted = name.endsWith('bias') ? [experts] : [experts, inputs]
    if (dtype !== 'F32' || shape.join() !== wanted.join() || !matrices.some((matrix) => matrix.inputs === inputs))
      throw damaged(`"${name}" is ${dtype} [${shape.join(', ')}]`)
  }
  const result = recordSchema.safeParse(parsed(file.metadata.get('spexpand.block')))
  if (result.success) return result.data
  const { path, message } = result.error.issues[0]!
  throw damaged(`its record of the block says of ${path.join('.') || 'all'}: ${message}`)
}

/** What is wrong with a stack, if anything. */
function wrongStack(file: TensorFile, { base, outputs, inputs }: StoredMatrix, form: ValueForm): string | undefined {
  const parts = ['mask', 'values', 'row_offsets', ...('groupSize' in form ? ['scales'] : [])]
  const infos = parts.map((part) => file.tensors.get(`${base}.experts.${part}`))
  if (infos.includes(undefined)) return `lacks ${parts[infos.indexOf(undefined)]}`
  const [mask, values, offsets, scales] = infos as NonNullable<(typeof infos)[number]>[]
  const [experts] = mask!.shape
  const rowBytes = Math.ceil(inputs / 8)
  if (mask!.dtype !== 'U8' || !(experts! >= 1) || mask!.shape.join() !== `${experts},${outputs},${rowBytes}`)
    return `has a mask ${mask!.dtype} [${mask!.shape.join(', ')}]`
  if (offsets!.dtype !== 'I64' || offsets!.shape.join() !== `${experts},${outputs}`)
    return `has row_offsets ${offsets!.dtype} [${offsets!.shape.join(', ')}]`
  const groups = 'groupSize' in form && form.groupSize > 0 ? Math.ceil(inputs / form.groupSize) : 1
  if (scales && (scales.dtype !== 'F16' || scales.shape.join() !== `${experts},${outputs},${groups}`))
    return `has scales ${scales.dtype} [${scales.shape.join(', ')}]`
  const bits = file.readBytes(mask!.name)
  const starts = rowStartsOf(bits, experts! * outputs)
  const stored = new BigInt64Array(file.readBytes(offsets!.name).buffer)
  const bad = stored.findIndex((offset, row) => offset !== BigInt(starts[row]!))
  if (bad >= 0) return `has the offset ${stored[bad]} in row ${bad}, its mask says ${starts[bad]}`
  const kept = starts.at(-1)! + keptCount(bits.subarray(bits.length - rowBytes))
  const wanted = form.type === 'int4' ? Math.ceil((1 + kept) / 2) : 1 + kept
  if (values!.dtype !== VALUE_DTYPES[form.type] || elementCount(values!.shape) !== wanted)
    return `has values ${values!.dtype} [${values!.shape.join(', ')}], expected ${VALUE_DTYPES[form.type]} [${wanted}]`
  return undefined
}

function parsed(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '')
  } catch {
    return undefined
  }
}
