import type { EntangleReport, MatrixName, MatrixReport } from '../entangle/types.ts'

const MATRIX_NAMES: readonly MatrixName[] = ['gate_proj', 'up_proj', 'down_proj']

/** The names that some rows are of, in order: layers without a gate have no gate_proj. */
export function namesOf(rows: readonly { readonly matrix: MatrixName }[]): MatrixName[] {
  return MATRIX_NAMES.filter((name) => rows.some(({ matrix }) => matrix === name))
}

/** The matrices of one name, layer by layer. */
export function ofName(report: EntangleReport, name: MatrixName): MatrixReport[] {
  return report.matrices.filter(({ matrix }) => matrix === name)
}
