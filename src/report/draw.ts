import * as Plot from '@observablehq/plot'
import { parseHTML } from 'linkedom'

/** Drawing parts of a figure, by Observable Plot; colours are CSS variables of the page. */
export { Plot }
export type Marks = NonNullable<Plot.PlotOptions['marks']>
export type Options = Omit<Plot.PlotOptions, 'document' | 'marks'>

/** Colours of gate, up and down, and of two sides of a comparison; the page defines them for light and dark. */
export const COLORS = {
  gate_proj: 'var(--gate)',
  up_proj: 'var(--up)',
  down_proj: 'var(--down)',
  strong: 'var(--strong)',
  faint: 'var(--faint)',
} as const

/** A figure as one SVG element, drawn without a browser. `label` is what a screen reader says. */
export function draw(label: string, options: Options, marks: Marks): string {
  const { document } = parseHTML('<html><body></body></html>')
  const svg = Plot.plot({
    marginLeft: 48,
    marginBottom: 36,
    width: 340,
    height: 240,
    ...options,
    document: document as unknown as NonNullable<Plot.PlotOptions['document']>,
    className: 'plot',
    ariaLabel: label,
    marks,
  })
  svg.setAttribute('role', 'img')
  // The page styles plots once for all; positions need no more than two digits.
  for (const style of svg.querySelectorAll('style')) style.remove()
  return svg.outerHTML.replaceAll(/-?\d+\.\d{3,}(?:e-\d+)?/g, (digits: string) =>
    String(Number(Number(digits).toFixed(2))),
  )
}
