import type { Model, ValueInfo } from '../formats/onnx/types.ts'

/** What is in an ONNX model. */
export type GraphSummary = {
  readonly irVersion: number
  readonly producer: string
  /** Operator sets, e.g. 'ai.onnx 21'. */
  readonly opsets: readonly string[]
  readonly nodes: number
  readonly operators: readonly { readonly operator: string; readonly nodes: number }[]
  readonly functions: readonly { readonly function: string; readonly nodes: number }[]
  readonly inputs: readonly ValueSummary[]
  readonly outputs: readonly ValueSummary[]
  readonly initializers: InitializerSummary
  readonly metadata: Readonly<Record<string, string>>
}
export type ValueSummary = {
  readonly name: string
  readonly type: string
  readonly shape: readonly (number | string)[]
}
export type InitializerSummary = {
  readonly count: number
  readonly inlineBytes: number
  readonly externalBytes: number
  /** Files that hold the external ones. */
  readonly externalFiles: readonly string[]
}

/** Counts what is in a model; nothing is run. */
export function summarizeGraph(model: Model): GraphSummary {
  const { graph } = model
  const counts = new Map<string, number>()
  for (const { domain, opType } of graph.node) {
    const operator = domain === '' ? opType : `${domain}.${opType}`
    counts.set(operator, (counts.get(operator) ?? 0) + 1)
  }
  const operators = [...counts].map(([operator, nodes]) => ({ operator, nodes }))
  return {
    irVersion: model.irVersion,
    producer: [model.producerName, model.producerVersion].filter(Boolean).join(' '),
    opsets: model.opsetImport.map(({ domain, version }) => `${domain || 'ai.onnx'} ${version}`),
    nodes: graph.node.length,
    operators: operators.sort((a, b) => b.nodes - a.nodes || (a.operator < b.operator ? -1 : 1)),
    functions: model.functions.map(({ domain, name, node }) => ({ function: `${domain}.${name}`, nodes: node.length })),
    inputs: graph.input.map(valueSummary),
    outputs: graph.output.map(valueSummary),
    initializers: initializerSummary(model),
    metadata: Object.fromEntries(model.metadataProps.map(({ key, value }) => [key, value])),
  }
}

function valueSummary({ name, type, shape, sequence }: ValueInfo): ValueSummary {
  return { name, type: `${sequence ? 'sequence of ' : ''}${type ?? 'unknown'}`, shape: shape ?? [] }
}

function initializerSummary({ graph }: Model): InitializerSummary {
  // Two initializers may share a byte range: a tied head is the embedding.
  const ranges = new Map(
    graph.initializer.flatMap(({ external }) =>
      external ? [[`${external.location}:${external.offset}`, external] as const] : [],
    ),
  )
  return {
    count: graph.initializer.length,
    inlineBytes: sum(graph.initializer.map(({ rawData }) => rawData?.byteLength ?? 0)),
    externalBytes: sum([...ranges.values()].map(({ length }) => length)),
    externalFiles: [...new Set([...ranges.values()].map(({ location }) => location))].sort(),
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0)
}
