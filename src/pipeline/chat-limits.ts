import { FormatError } from '../errors.ts'

/** The largest templates published have some 20 kB. */
export const MAX_TEMPLATE_CHARS = 1_000_000
/** Templates take milliseconds; what is not done by then never ends. */
export const MAX_RENDER_MS = 1000
/** Items of a list that range() makes; templates count messages with it. */
export const MAX_RANGE = 100_000
/** Nodes evaluated: a conversation of 1000 turns takes some 100,000. */
const MAX_STEPS = 1_000_000
/** Characters of one string: documents come in pieces of a few MB. */
const MAX_STRING = 1 << 26
/** Items of one list. */
const MAX_LIST = 1_000_000
/** Characters and items of all that is computed. */
const MAX_COMPUTED = 1 << 28

/** What this needs of the interpreter of templates. */
type Evaluator<Statement extends { readonly type: string }, Scope> = {
  evaluate(statement: Statement | undefined, scope: Scope): { readonly value: unknown }
}

/** Nodes that make new values; the others hand on values that were counted when they were made. */
const COMPUTING: ReadonlySet<string> = new Set([
  'BinaryExpression',
  'FilterExpression',
  'FilterStatement',
  'CallExpression',
  'CallStatement',
  'MemberExpression',
  'ArrayLiteral',
  'TupleLiteral',
])

/**
 * Puts limits to an interpreter before a template that may be hostile is run: it has no loop but over lists, and neither
 * files nor code of ours in reach, but its lists may be long, nested, and doubled in every step. The run throws FormatError
 * where a limit is passed. (One replacement or indentation alone may make as long a string as V8 has, 512 MB.)
 */
export function limited<Statement extends { readonly type: string }, Scope, T extends Evaluator<Statement, Scope>>(
  interpreter: T & Evaluator<Statement, Scope>,
): T {
  const evaluate = interpreter.evaluate.bind(interpreter)
  let steps = 0
  let computed = 0
  interpreter.evaluate = (statement, scope) => {
    if (++steps > MAX_STEPS) throw tooMuch(`more than ${MAX_STEPS} steps`)
    const result = evaluate(statement, scope)
    if (statement === undefined || !COMPUTING.has(statement.type)) return result
    const size = sizeOf(result.value)
    if (size > (typeof result.value === 'string' ? MAX_STRING : MAX_LIST)) throw tooMuch(`a value of ${size} parts`)
    computed += size
    if (computed > MAX_COMPUTED) throw tooMuch(`more than ${MAX_COMPUTED} characters and items`)
    return result
  }
  return interpreter
}

function sizeOf(value: unknown): number {
  if (typeof value === 'string' || Array.isArray(value)) return value.length
  return value instanceof Map ? value.size : 0
}

function tooMuch(what: string): FormatError {
  return new FormatError(`it computes ${what}, which no template needs`)
}
