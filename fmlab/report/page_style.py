"""Style and script of the HTML page: nothing is fetched, and the page can be read without the script."""

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2330; --soft: #596275; --rule: #e3e6ee; --head: #eef1f6 }
:root { --hover: #f6f8fc; --grid: #edf0f5; --axis: #8992a3; --bar: #d7e8f5; --card: #f7f9fc }
@media (prefers-color-scheme: dark) {
  :root { --paper: #171b24; --ink: #dfe4ee; --soft: #9aa5b8; --rule: #323a49; --head: #232a37; --hover: #1e2430 }
  :root { --grid: #262d3a; --axis: #707b8e; --bar: #1f3a52; --card: #1c212c }
}
body { font: 14px/1.45 system-ui, sans-serif; margin: 24px auto; max-width: 1500px; padding: 0 16px }
body { color: var(--ink); background: var(--paper) } h1 { font-size: 22px } a { color: inherit }
h2 { font-size: 17px; margin-top: 36px; border-bottom: 1px solid var(--rule); overflow-wrap: anywhere }
h3 { font-size: 14px } .wide { overflow-x: auto; max-height: 720px; overflow-y: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th { position: sticky; top: 0; background: var(--head); text-align: left; z-index: 1 }
th, td { padding: 3px 10px; border-bottom: 1px solid var(--rule); white-space: nowrap; vertical-align: top }
th { white-space: normal } td.n, th.n { text-align: right }
th.sort { cursor: pointer } th.sort:hover { text-decoration: underline }
th[aria-sort=ascending]::after { content: " \\25B2" } th[aria-sort=descending]::after { content: " \\25BC" }
th.sort:focus-visible { outline: 2px solid var(--axis) }
.judged { display: flex; flex-wrap: wrap; gap: 4px 48px } .judged h3 { margin: 10px 0 4px }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 14px; margin: 0; max-width: 720px }
dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
.shares { list-style: none; margin: 0; padding: 0 } .shares li { display: flex; align-items: start; margin: 1px 0 }
.share { flex: 0 0 90px; padding: 0 6px; margin-right: 8px; background: var(--card) }
.share { background-image: linear-gradient(var(--bar), var(--bar)); background-repeat: no-repeat; text-align: right }
.share { font-variant-numeric: tabular-nums; box-sizing: border-box }
td.w { white-space: normal; min-width: 100px } tr:hover td { background-color: var(--hover) }
td.b { background-image: linear-gradient(var(--bar), var(--bar)); background-repeat: no-repeat }
tr.best td { font-weight: 600 } summary { cursor: pointer } td .options { font: 12px/1.5 ui-monospace, monospace }
td .options { color: var(--soft); overflow-wrap: anywhere; max-width: 460px; font-weight: 400 }
td .told { color: var(--soft); font-weight: 400 }
.overview td.w { min-width: 110px } .overview td:last-child { min-width: 240px }
.note { color: var(--soft); font-size: 12.5px; margin: 4px 0 } figure { margin: 0 }
.find { margin: 6px 0; padding: 4px 8px; border: 1px solid var(--rule); border-radius: 4px; width: 220px }
.find { background: var(--card); color: var(--ink); font: inherit }
.plots { display: flex; flex-wrap: wrap; gap: 18px; margin-top: 14px }
svg { max-width: 100%; height: auto; background: var(--paper); border: 1px solid var(--rule); border-radius: 4px }
svg text { font: 11px system-ui, sans-serif; fill: var(--ink) }
svg .grid { stroke: var(--grid) } svg .axis { stroke: var(--axis) }
svg .halo { paint-order: stroke; stroke: var(--paper); stroke-width: 3px }
@media (max-width: 700px) {
  body { margin: 12px auto; padding: 0 10px; font-size: 13px } th, td { padding: 3px 6px } td.w { min-width: 96px }
  .board th:first-child, .board td:first-child { position: sticky; left: 0; background: var(--paper); z-index: 2 }
  dl { grid-template-columns: 1fr } dt { margin-top: 4px }
  .summary { max-height: none } .overview thead { display: none }
  .overview tr { display: block; margin-bottom: 12px; background: var(--card) }
  .overview td { display: flex; gap: 10px; min-width: 0; white-space: normal; overflow-wrap: anywhere }
  .overview td::before { content: attr(data-name); flex: 0 0 112px; color: var(--soft) }
}
@media print { .find { display: none } .wide { max-height: none } }
"""

SCRIPT = """
const field = (place, hint, act) => {
  const find = Object.assign(document.createElement('input'), { className: 'find', type: 'search' });
  find.placeholder = hint;
  find.setAttribute('aria-label', hint);
  find.addEventListener('input', () => act(find.value.toLowerCase()));
  place.before(find);
};
const shows = (element, text) => element.textContent.toLowerCase().includes(text);
for (const table of document.querySelectorAll('table.board, table.printed')) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const sort = (head, at) => {
    const down = head.getAttribute('aria-sort') !== 'descending';
    heads.forEach(h => h.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const value = row => {
      const text = row.cells[at].textContent.replace(/,/g, ''), number = parseFloat(text);
      return isFinite(number) ? number : text;
    };
    const order = (a, b) => typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === 'number' ? -1 : 1;
    body.append(...[...body.rows].sort((a, b) => order(value(a), value(b)) * (down ? -1 : 1)));
  };
  heads.forEach((head, at) => {
    head.classList.add('sort');
    head.tabIndex = 0;
    head.addEventListener('click', () => sort(head, at));
    head.addEventListener('keydown', event => {
      if (event.key !== 'Enter' && event.key !== ' ') return;
      event.preventDefault();
      sort(head, at);
    });
  });
  if (body.rows.length > 8) {
    field(table.parentElement, 'show rows with ...', text => {
      for (const row of body.rows) row.hidden = !shows(row, text);
    });
  }
}
const sections = [...document.querySelectorAll('section.of-board')];
if (sections.length > 2) {
  field(document.querySelector('.summary'), 'show leaderboards with ...', text => {
    for (const section of sections) section.hidden = !shows(section, text);
    for (const row of document.querySelector('.overview').tBodies[0].rows)
      row.hidden = sections[row.rowIndex - 1].hidden;
  });
}
"""
