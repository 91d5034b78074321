import type { EntangleReport, MatrixName, MatrixReport } from '../entangle/types.ts'

export const MATRIX_NAMES: readonly MatrixName[] = ['gate_proj', 'up_proj', 'down_proj']

/** The matrices of one name, layer by layer. */
export function ofName(report: EntangleReport, name: MatrixName): MatrixReport[] {
  return report.matrices.filter(({ matrix }) => matrix === name)
}
