import type { Blas } from '../tensor/blas.ts'
import type { Moments, RowSource } from './moments.ts'
import { accumulateMoments } from './moments.ts'
import type { Pca } from './pca.ts'
import type { Points } from './points.ts'
import { project } from './project.ts'
import { routeRows } from './route.ts'
import type { Router } from './router.ts'

/** The three passes over all rows that fitting a router takes, each of which may run on many threads. */
export type Passes = {
  moments(): Promise<Moments>
  /** points = P x − P μ of every row. */
  project(basis: Pca, points: Points): Promise<void>
  /** The expert of every row. */
  route(router: Router): Promise<Uint8Array>
}

/** The passes on this thread. */
export function passesHere(source: RowSource, blas: Blas): Passes {
  return {
    moments: () => accumulateMoments(source, blas),
    project: (basis, points) => project(source, basis, blas, points),
    route: (router) => routeRows(router, source.rows, source.chunk, blas),
  }
}
