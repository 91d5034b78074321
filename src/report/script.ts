/** Sorting and searching of the neuron table; the page is complete without it. */
export const SCRIPT = `
(() => {
  const table = document.getElementById('table');
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const search = document.getElementById('search');
  const matrix = document.getElementById('matrix');
  const status = document.getElementById('shown');
  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.v ?? cell.textContent;
    const number = Number(text);
    return text !== '' && !Number.isNaN(number) ? number : text;
  };
  const sortBy = (column) => {
    const descending = heads[column].getAttribute('aria-sort') !== 'descending';
    heads.forEach((head, i) => head.setAttribute('aria-sort', i !== column ? 'none' : descending ? 'descending' : 'ascending'));
    const sign = descending ? -1 : 1;
    rows.sort((a, b) => {
      const x = value(a, column), y = value(b, column);
      if (typeof x !== typeof y) return typeof x === 'number' ? -1 : 1;
      return sign * (typeof x === 'number' ? x - y : x < y ? -1 : x > y ? 1 : 0);
    });
    body.append(...rows);
  };
  heads.forEach((head, i) => head.querySelector('button').addEventListener('click', () => sortBy(i)));
  const words = rows.map((row) => ' layer ' + row.cells[0].textContent + ' ' + row.cells[1].textContent + ' ' + row.cells[2].textContent + ' ');
  const wordsOf = new Map(rows.map((row, i) => [row, words[i]]));
  const filter = () => {
    const wanted = search.value.trim().toLowerCase().split(/\\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const text = wordsOf.get(row);
      const fits = (matrix.value === '' || row.cells[1].textContent === matrix.value) && wanted.every((word) => text.includes(' ' + word + ' '));
      row.hidden = !fits;
      if (fits) count++;
    }
    status.textContent = count + (count === 1 ? ' neuron' : ' neurons');
  };
  search.addEventListener('input', filter);
  matrix.addEventListener('change', filter);
  search.form.addEventListener('submit', (event) => event.preventDefault());
  const follow = () => {
    const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!row || row.tagName !== 'TR') return;
    if (row.hidden) { search.value = ''; matrix.value = ''; filter(); }
    row.scrollIntoView({ block: 'center' });
    row.focus({ preventScroll: true });
  };
  addEventListener('hashchange', follow);
  follow();
})();
`
