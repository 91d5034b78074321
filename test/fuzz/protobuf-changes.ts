/** One change of a protobuf message; the numbers choose the field and what becomes of it. */
export type FieldChange = { readonly where: number; readonly what: number; readonly which: number }

/** A field on the wire: its number and type, its payload, and the fields in it where it reads as a message itself. */
type Field = { id: number; wire: number; bytes: Buffer; fields: Field[] | undefined }

/** Fields changed and every length around them made right again, so that the change is read and not the broken length. */
export function changedMessage(bytes: Buffer, changes: readonly FieldChange[]): Buffer {
  const fields = parse(bytes)
  if (!fields) throw new Error('the seed is no message')
  for (const change of changes) apply(fields, change)
  return encode(fields)
}

const VARINTS = [0n, 1n, 127n, 1n << 31n, (1n << 32n) - 1n, 1n << 53n, 1n << 62n, (1n << 64n) - 1n]
const TEXTS = ['', '../x', '/etc/passwd', '__proto__', '\u0000', 'x'.repeat(5000), '1152921504606846976', '-1', '1e9']

function apply(root: Field[], { where, what, which }: FieldChange): void {
  const lists = listsOf(root)
  const list = lists[where % lists.length]!
  const at = which % Math.max(1, list.length)
  const field = list[at]
  if (!field) return
  switch (what % 8) {
    case 0:
      list.splice(at, 1)
      return
    case 1:
      list.push(field)
      return
    case 2:
      field.id = 1 + ((which >>> 5) % 26)
      return
    case 3:
      field.wire = [0, 1, 2, 5][(which >>> 5) % 4]!
      field.fields = undefined
      return
    case 4:
      if (field.wire === 0) field.bytes = varint(VARINTS[(which >>> 5) % VARINTS.length]!)
      return
    case 5:
      if (field.wire === 2) {
        field.bytes = Buffer.from(TEXTS[(which >>> 5) % TEXTS.length]!)
        field.fields = undefined
      }
      return
    case 6:
      // A message into itself, many times over: deep nesting.
      for (let depth = 0; depth < [2, 90, 500][(which >>> 5) % 3]! && field.wire === 2; depth++) {
        const payload = payloadOf(field)
        field.fields = undefined
        field.bytes = Buffer.concat([tag(field.id, 2), varint(BigInt(payload.length)), payload])
      }
      return
    default: {
      const other = lists[which % lists.length]!
      const moved = other[(which >>> 7) % Math.max(1, other.length)]
      if (moved && !moved.fields) list.push({ ...moved })
    }
  }
}

function listsOf(fields: Field[]): Field[][] {
  return [fields, ...fields.flatMap((field) => (field.fields ? listsOf(field.fields) : []))]
}

function parse(bytes: Buffer, depth = 0): Field[] | undefined {
  const fields: Field[] = []
  for (let at = 0; at < bytes.length;) {
    const key = readVarint(bytes, at)
    if (!key || key.value > 0xffffffffn) return undefined
    const [id, wire] = [Number(key.value >> 3n), Number(key.value & 7n)]
    const end = endOf(bytes, key.end, wire)
    if (id === 0 || end === undefined || end.to > bytes.length) return undefined
    const payload = bytes.subarray(end.from, end.to)
    const inner = wire === 2 && depth < 8 && payload.length > 1 ? parse(payload, depth + 1) : undefined
    fields.push({ id, wire, bytes: payload, fields: inner })
    at = end.to
  }
  return fields
}

function endOf(bytes: Buffer, at: number, wire: number): { from: number; to: number } | undefined {
  if (wire === 1) return { from: at, to: at + 8 }
  if (wire === 5) return { from: at, to: at + 4 }
  const number = wire === 0 || wire === 2 ? readVarint(bytes, at) : undefined
  if (!number) return undefined
  return wire === 0 ? { from: at, to: number.end } : { from: number.end, to: number.end + Number(number.value) }
}

function readVarint(bytes: Buffer, at: number): { value: bigint; end: number } | undefined {
  let value = 0n
  for (let i = 0; i < 10 && at + i < bytes.length; i++) {
    value |= BigInt(bytes[at + i]! & 127) << BigInt(7 * i)
    if (bytes[at + i]! < 128) return { value, end: at + i + 1 }
  }
  return undefined
}

function encode(fields: readonly Field[]): Buffer {
  return Buffer.concat(
    fields.flatMap((field) => {
      const payload = payloadOf(field)
      const size = field.wire === 1 ? 8 : field.wire === 5 ? 4 : undefined
      if (size !== undefined) return [tag(field.id, field.wire), Buffer.concat([payload, Buffer.alloc(8)], size)]
      if (field.wire === 0) return [tag(field.id, 0), payload.length > 0 && payload.length <= 10 ? payload : varint(1n)]
      return [tag(field.id, 2), varint(BigInt(payload.length)), payload]
    }),
  )
}

function payloadOf({ bytes, fields }: Field): Buffer {
  return fields ? encode(fields) : bytes
}

function tag(id: number, wire: number): Buffer {
  return varint((BigInt(id) << 3n) | BigInt(wire))
}

function varint(value: bigint): Buffer {
  const out: number[] = []
  for (; value > 127n; value >>= 7n) out.push(Number(value & 127n) | 128)
  return Buffer.from([...out, Number(value)])
}
