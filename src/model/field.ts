import type { z } from 'zod'
import { FormatError } from '../errors.ts'
import { kindOf } from './json.ts'

/** One key, checked. Throws FormatError naming file, key, got and wanted. */
export function field<T>(json: Readonly<Record<string, unknown>>, key: string, schema: z.ZodType<T>, file: string): T {
  const result = schema.safeParse(Object.hasOwn(json, key) ? json[key] : undefined)
  if (result.success) return result.data
  const value = Object.hasOwn(json, key) ? json[key] : undefined
  const issue = result.error.issues[0]!
  throw new FormatError(`Cannot read ${file}: ${key} is ${kindOf(value)}, expected ${wantedBy(issue)}`)
}

/** Says what a schema wanted, in words: zod's own text speaks of its types. */
function wantedBy(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return issue.expected === 'int' || issue.expected === 'number'
        ? `a ${issue.expected === 'int' ? 'whole ' : ''}number`
        : `a ${issue.expected}`
    case 'too_small':
      return `${issue.inclusive === false ? 'more than' : 'at least'} ${issue.minimum}`
    case 'too_big':
      return `at most ${issue.maximum}`
    case 'invalid_union':
      return 'a token id or a list of them'
    default:
      return issue.message
  }
}
