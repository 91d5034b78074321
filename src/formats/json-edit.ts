/** Strings and signs of a JSON text; what lies between them are numbers, literals and white space. */
const TOKENS = /"(?:[^"\\]|\\.)*"|[{}[\],:]/g

/**
 * A JSON object's text with one of its own keys set to a string, every other character as it was: numbers keep their form
 * (a reader that tells 6.0 from 6 would refuse the other one). A key that is not there becomes the first. `text` must be the
 * text of a valid JSON object.
 */
export function withString(text: string, key: string, value: string): string {
  let depth = 0
  let previous = ''
  let begin: number | undefined
  for (const { 0: token, index } of text.matchAll(TOKENS)) {
    if (begin !== undefined && depth === 1 && (token === ',' || token === '}'))
      return `${text.slice(0, begin)} ${JSON.stringify(value)}${token === '}' ? '\n' : ''}${text.slice(index)}`
    if (token === ':' && depth === 1 && previous.startsWith('"') && JSON.parse(previous) === key) begin = index + 1
    if (token === '{' || token === '[') depth++
    if (token === '}' || token === ']') depth--
    previous = token
  }
  const start = text.indexOf('{') + 1
  const isEmpty = /^\s*}/.test(text.slice(start))
  return `${text.slice(0, start)}\n  ${JSON.stringify(key)}: ${JSON.stringify(value)}${isEmpty ? '\n' : ','}${text.slice(start)}`
}
