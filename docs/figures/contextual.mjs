// Lines over what contextual sparsity keeps, as an SVG: node docs/figures/contextual.mjs POINTS.json OUT.svg. Uses the
// built package (`npm run build`). The points are those of docs/results.md.
import { readFileSync, writeFileSync } from 'node:fs'
import { draw, Plot } from '../../dist/src/report/draw.js'

const STYLE = `
.plot { --griffin: #b35309; --hire: #0b6bcb; color: #1a1d21; background: #fff; font: 11px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { .plot { --griffin: #f0a35e; --hire: #62aef7; color: #e6e9ed; background: #14171b; } }
`

const [file, target] = process.argv.slice(2)
if (!file || !target) throw new Error('Cannot draw: wanted POINTS.json and OUT.svg')
const { title, x, y, log, series } = JSON.parse(readFileSync(file, 'utf8'))
const svg = draw(
  title,
  {
    width: 640,
    height: 360,
    marginRight: 24,
    x: { label: x, nice: true },
    y: { label: y, grid: true, nice: !log, ...(log ? { type: 'log', tickFormat: '~s' } : {}) },
  },
  series.flatMap(({ label, kind, dash, points }) => {
    const data = [...points].sort((a, b) => a[0] - b[0])
    const line = { x: (point) => point[0], y: (point) => point[1], stroke: `var(--${kind})`, strokeDasharray: dash }
    const end = { text: [label], textAnchor: 'start', dx: 8, dy: -6, fill: `var(--${kind})` }
    return [Plot.lineY(data, { ...line, marker: 'dot' }), Plot.text(data.slice(0, 1), { ...end, x: line.x, y: line.y })]
  }),
)
writeFileSync(
  target,
  `${svg.replace(/<svg /, '<svg xmlns="http://www.w3.org/2000/svg" ').replace('>', `><style>${STYLE}</style>`)}\n`,
)
