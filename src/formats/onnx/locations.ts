import type { Graph, Model, Node, TensorProto } from './types.ts'

/** The files that tensors of a model lie in, wherever they are: initializers and attributes, in subgraphs and functions too. */
export function externalLocations({ graph, functions }: Model): ReadonlySet<string> {
  const found = new Set<string>()
  const ofTensor = ({ external }: TensorProto): void => {
    if (external) found.add(external.location)
  }
  const ofNodes = (nodes: readonly Node[]): void => {
    for (const { attribute } of nodes)
      for (const one of attribute)
        if (one.type === 'tensor') ofTensor(one.t)
        else if (one.type === 'graph') ofGraph(one.g)
  }
  const ofGraph = ({ initializer, node }: Graph): void => {
    initializer.forEach(ofTensor)
    ofNodes(node)
  }
  ofGraph(graph)
  for (const { node } of functions) ofNodes(node)
  return found
}
