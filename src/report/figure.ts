import type { Cell } from './csv.ts'
import { csvLink, csvOf } from './csv.ts'
import { escape } from './text.ts'

/** One figure of the page: some panels side by side, what they mean, and their data. */
export type Figure = {
  readonly id: string
  readonly title: string
  /** What the reader should see in it. */
  readonly caption: string
  readonly panels: readonly { readonly title?: string; readonly svg: string; readonly href?: string }[]
  readonly titles: readonly string[]
  readonly rows: readonly (readonly Cell[])[]
}

/** The figure as HTML: heading, panels that wrap on a phone, caption, link to the data. */
export function figureHtml({ id, title, caption, panels, titles, rows }: Figure): string {
  const drawn = panels.map(({ title: name, svg, href }) => {
    const heading =
      name === undefined ? '' : `<h4>${href ? `<a href="#${href}">${escape(name)}</a>` : escape(name)}</h4>`
    return `<div class="panel">${heading}${svg}</div>`
  })
  return `<section id="${id}"><h3>${escape(title)}</h3><figure><div class="panels">${drawn.join('')}</div>
<figcaption>${escape(caption)} <a class="data" download="${id}.csv" href="${csvLink(csvOf(titles, rows))}">Data (CSV)</a></figcaption></figure></section>`
}
