/** The style sheet of the page: light and dark by the reader's system, one column on a phone, plain on paper. */
export const STYLE = `
:root { color-scheme: light dark; --paper: #fff; --ink: #1a1d21; --muted: #565d66; --line: #d5dae0; --soft: #f3f5f7;
  --link: #0b57c2; --gate: #0b6bcb; --up: #b4570a; --down: #1a7f4b; --strong: #a02050; --faint: #7b8490; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --ink: #e6e9ed; --muted: #a3abb5; --line: #343b44; --soft: #1d2228;
  --link: #7db4ff; --gate: #62aef7; --up: #f0a050; --down: #56c98a; --strong: #f07aa5; --faint: #8b95a1; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0 auto; max-width: 72rem; padding: 1.25rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1, h3, h4, li { overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .2rem 0 .6rem; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; border-top: 1px solid var(--line); padding-top: 1.2rem; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .5rem; }
h4 { font-size: .9rem; font-weight: 600; margin: 0 0 .2rem; }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -100rem; } .skip:focus { position: static; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: .5rem 0; }
.summary { background: var(--soft); border: 1px solid var(--line); border-radius: .5rem; padding: .4rem 1.2rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .6rem; margin: 1rem 0; padding: 0; }
.facts div { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .75rem; }
.facts dt { color: var(--muted); font-size: .8rem; } .facts dd { margin: 0; font-size: 1.1rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
figure { margin: 0; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); gap: .75rem; }
.panel { min-width: 0; overflow: hidden; }
.plot { width: 100%; height: auto; max-width: 36rem; display: block; color: var(--ink); --plot-background: var(--paper); overflow: visible; }
.plot text { white-space: pre; }
figcaption { color: var(--muted); font-size: .9rem; max-width: 60rem; margin: .4rem 0 0; }
.controls { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; margin: .5rem 0; }
input, select, button { font: inherit; color: inherit; background: var(--paper); border: 1px solid var(--faint); border-radius: .3rem; padding: .25rem .5rem; }
.scroll { overflow-x: auto; max-height: 40rem; overflow-y: auto; border: 1px solid var(--line); border-radius: .4rem; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: var(--soft); text-align: right; padding: 0; white-space: nowrap; }
th button { border: 0; background: none; width: 100%; text-align: right; padding: .35rem .6rem; font-weight: 600; cursor: pointer; }
th[aria-sort="ascending"] button::after { content: " \\2191"; } th[aria-sort="descending"] button::after { content: " \\2193"; }
td { text-align: right; padding: .2rem .6rem; border-top: 1px solid var(--line); white-space: nowrap; }
td.word { text-align: left; } tr:target, tr.hit { background: color-mix(in srgb, var(--link) 18%, transparent); }
.plain { width: auto; max-width: 100%; display: block; overflow-x: auto; } .plain th, .plain td { padding: .25rem .75rem; position: static; }
footer { color: var(--muted); font-size: .85rem; margin-top: 2.5rem; border-top: 1px solid var(--line); }
@media print { :root { --paper: #fff; --ink: #000; --muted: #333; } body { max-width: none; font-size: 10pt; padding: 0; }
  nav, .controls, .data, .skip { display: none; } section, figure, .panel { break-inside: avoid; } .scroll { max-height: none; overflow: visible; border: 0; }
  #neurons tbody tr:nth-child(n+41) { display: none; } }
`
