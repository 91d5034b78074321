// Memory over the blocks of a run, as an SVG and as a table. Uses the built package (`npm run build`).
//
//   spexpand compress MODEL … --log-file RUN.jsonl
//   node docs/figures/memory-blocks.mjs RUN.jsonl OUT.svg TITLE
//
// Every point is what the process had resident, or on the JavaScript heap of its main thread, as a block ended.
import { readFileSync, writeFileSync } from 'node:fs'
import { draw, Plot } from '../../dist/src/report/draw.js'

const STYLE = `
.plot { --plot-background: #fff; --rss: #0b6bcb; --heap: #1a7f4b; color: #1a1d21; background: #fff; font: 11px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { .plot { --plot-background: #14171b; --rss: #62aef7; --heap: #56c98a; color: #e6e9ed; background: #14171b; } }
`

const [log, target, title] = process.argv.slice(2)
if (!log || !target || !title)
  throw new Error('Cannot draw: wanted RUN.jsonl, OUT.svg and a title (see the head of this file)')
const lines = readFileSync(log, 'utf8').trimEnd().split('\n')
const blocks = lines.map((line) => JSON.parse(line)).filter(({ event }) => event === 'block')
const points = blocks.flatMap(({ block, rss, heapUsed }) => [
  { block: block + 1, what: 'resident', megabytes: rss / 1e6 },
  { block: block + 1, what: 'heap', megabytes: heapUsed / 1e6 },
])
writeFileSync(target, svgOf())
printTable()

function svgOf() {
  const svg = draw(
    title,
    {
      width: 640,
      height: 320,
      marginRight: 60,
      x: { label: 'blocks finished', tickFormat: 'd' },
      y: { label: 'MB', domain: [0, Math.max(...points.map(({ megabytes }) => megabytes)) * 1.1], grid: true },
    },
    [
      Plot.ruleY([0]),
      ...['resident', 'heap'].map((what, i) =>
        Plot.line(
          points.filter((point) => point.what === what),
          { x: 'block', y: 'megabytes', stroke: `var(--${['rss', 'heap'][i]})`, marker: 'dot' },
        ),
      ),
      Plot.text(
        points.filter(({ block }) => block === blocks.length),
        { x: 'block', y: 'megabytes', text: 'what', textAnchor: 'start', dx: 8 },
      ),
    ],
  )
  return `${svg.replace(/<svg /, '<svg xmlns="http://www.w3.org/2000/svg" ').replace('>', `><style>${STYLE}</style>`)}\n`
}

function row(...cells) {
  console.log(`| ${cells.join(' | ')} |`)
}

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(0)
}

/** First, middle and last blocks, and how much the second half grew. */
function printTable() {
  row('block', 'resident, MB', 'heap, MB', 'outside the heap, MB')
  row('---', '---', '---', '---')
  const shown = new Set([0, 1, 4, 9, 14, 19, 24, blocks.length - 1].filter((i) => i < blocks.length))
  for (const i of shown) {
    const { block, rss, heapUsed, external } = blocks[i]
    row(block + 1, megabytes(rss), megabytes(heapUsed), megabytes(external))
  }
  const half = blocks.slice(blocks.length >> 1)
  const mean = half.reduce((sum, { block }) => sum + block, 0) / half.length
  const spread = half.reduce((sum, { block }) => sum + (block - mean) ** 2, 0)
  const slope = half.reduce((sum, { block, rss }) => sum + (block - mean) * rss, 0) / spread
  console.log(`\nSlope over the second half: ${(slope / 1e6).toFixed(2)} MB a block`)
}
