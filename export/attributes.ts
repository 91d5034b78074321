import type { AttributeValue } from '../src/formats/onnx/types.ts'

export type Attributes = Readonly<Record<string, AttributeValue>>

export function int(i: number): AttributeValue {
  return { type: 'int', i }
}

export function ints(...values: number[]): AttributeValue {
  return { type: 'ints', ints: values }
}

/** `to` of Cast, as TensorProto.DataType numbers. */
export const TO_FLOAT: Attributes = { to: int(1) }
export const TO_INT32: Attributes = { to: int(6) }
export const TO_INT64: Attributes = { to: int(7) }

export const ON_AXIS_0: Attributes = { axis: int(0) }

/** "To the end" for Slice; integers are exact up to 2⁵³ here. */
export const TO_THE_END = Number.MAX_SAFE_INTEGER
