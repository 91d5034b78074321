// Bytes read per token against perplexity, as an SVG. Uses the built package (`npm run build`).
//
//   node docs/figures/bytes-perplexity.mjs POINTS.json OUT.svg
//   node docs/figures/bytes-perplexity.mjs POINTS.json --add LABEL KIND COMPRESS.json [EVAL.json]
//
// The second form adds a point to POINTS.json, or replaces the one of that label and kind: KIND is the colour, `dense`, `sparse` or `refined`;
// COMPRESS.json is what `spexpand compress --json` printed, EVAL.json what `spexpand eval --json` printed where compress
// did not measure. A dense form stored as an artifact carries a mask of ones and row offsets that a dense engine does
// not read: with KIND `dense` they are taken off.
import { readFileSync, writeFileSync } from 'node:fs'
import { draw, Plot } from '../../dist/src/report/draw.js'

const STYLE = `
.plot { --plot-background: #fff; --dense: #7b8490; --sparse: #0b6bcb; --refined: #1a7f4b; color: #1a1d21; background: #fff; font: 11px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { .plot { --plot-background: #14171b; --dense: #8b95a1; --sparse: #62aef7; --refined: #56c98a; color: #e6e9ed; background: #14171b; } }
`

const [file, target, label, kind, compressed, evaluated] = process.argv.slice(2)
if (!file || !target)
  throw new Error('Cannot draw: wanted POINTS.json and OUT.svg, or POINTS.json --add … (see the head of this file)')
const data = JSON.parse(readFileSync(file, 'utf8'))
if (target === '--add') {
  addPoint()
  writeFileSync(file, `${JSON.stringify(data, null, 2)}\n`)
} else writeFileSync(target, svgOf(data))

function addPoint() {
  const result = JSON.parse(readFileSync(compressed, 'utf8'))
  const quality = evaluated ? JSON.parse(readFileSync(evaluated, 'utf8')) : result.evaluation
  if (typeof quality?.perplexity !== 'number')
    throw new Error(`Cannot add "${label}": no perplexity in ${evaluated ?? compressed}`)
  const bytes = result.ffBytesPerToken - (kind === 'dense' ? overheadOf(data.ffMatrices) : 0)
  const { perplexity, standardError, kl } = quality
  const megabytes = short(bytes / 1e6)
  const point = {
    label,
    kind,
    megabytes,
    perplexity: short(perplexity),
    standardError: short(standardError),
    kl: short(kl),
  }
  data.points = [...data.points.filter((other) => other.label !== label || other.kind !== kind), point]
}

/** Bytes of masks and row offsets of matrices given as [count, outputs, inputs]. */
function overheadOf(matrices) {
  return matrices.reduce((sum, [count, outputs, inputs]) => sum + count * outputs * (Math.ceil(inputs / 8) + 8), 0)
}

function svgOf({ title, kinds, points }) {
  const largest = Math.max(...points.map((point) => point.megabytes))
  const svg = draw(
    title,
    {
      width: 640,
      height: 400,
      marginRight: 24,
      x: { label: 'FF weights read per token, MB', domain: [0, largest * 1.15], grid: true },
      y: { label: 'perplexity', grid: true, nice: true },
    },
    [
      Plot.dot(points, { x: 'megabytes', y: 'perplexity', fill: color, r: 4, title: describe }),
      // One mark a label: offsets are the same for all of a mark.
      ...points.map((point) =>
        Plot.text([point], {
          x: 'megabytes',
          y: 'perplexity',
          text: 'label',
          fill: color(point),
          textAnchor: 'start',
          dx: 8,
          dy: point.dy ?? 0,
        }),
      ),
      ...Object.entries(kinds).map(([kind, name], i) =>
        Plot.text([name], { frameAnchor: 'top-right', fill: `var(--${kind})`, dx: -8, dy: 8 + 16 * i }),
      ),
    ],
  )
  return `${svg.replace(/<svg /, '<svg xmlns="http://www.w3.org/2000/svg" ').replace('>', `><style>${STYLE}</style>`)}\n`
}

/** Five digits; nothing where there is nothing. */
function short(value) {
  return value === undefined ? undefined : Number(value.toPrecision(5))
}

function color({ kind }) {
  return `var(--${kind})`
}

function describe({ label, megabytes, perplexity }) {
  return `${label}: ${megabytes} MB, perplexity ${perplexity.toFixed(2)}`
}
