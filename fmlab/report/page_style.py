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
td.n, th.n { text-align: right } th.sort { cursor: pointer } th.sort:hover { text-decoration: underline }
td.w { white-space: normal; min-width: 150px } tr:hover td { background-color: var(--hover) }
td.b { background-image: linear-gradient(var(--bar), var(--bar)); background-repeat: no-repeat }
tr.best td { font-weight: 600 } summary { cursor: pointer } td .options { font: 12px/1.5 ui-monospace, monospace }
td .options { color: var(--soft); overflow-wrap: anywhere; max-width: 460px; font-weight: 400 }
td .told { color: var(--soft); font-weight: 400 }
.overview td.w { min-width: 110px } .overview td:last-child { min-width: 240px }
.note { color: var(--soft); font-size: 12.5px } figure { margin: 0 }
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
  .summary { max-height: none } .overview thead { display: none }
  .overview tr { display: block; margin-bottom: 12px; background: var(--card) }
  .overview td { display: flex; gap: 10px; min-width: 0; white-space: normal; overflow-wrap: anywhere }
  .overview td::before { content: attr(data-name); flex: 0 0 112px; color: var(--soft) }
}
@media print { .find { display: none } .wide { max-height: none } }
"""

SCRIPT = """
for (const table of document.querySelectorAll('table.board')) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, at) => {
    head.classList.add('sort');
    head.addEventListener('click', () => {
      const down = head.dataset.down !== '1';
      heads.forEach(h => delete h.dataset.down);
      head.dataset.down = down ? '1' : '0';
      const value = row => {
        const text = row.cells[at].textContent.replace(/,/g, ''), number = parseFloat(text);
        return isFinite(number) ? number : text;
      };
      const order = (a, b) => typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === 'number' ? -1 : 1;
      const rows = [...body.rows].sort((a, b) => order(value(a), value(b)) * (down ? -1 : 1));
      body.append(...rows);
    });
  });
  if (body.rows.length > 8) {
    const find = Object.assign(document.createElement('input'), { className: 'find' });
    find.placeholder = 'show rows with ...';
    find.setAttribute('aria-label', 'show rows with this text');
    find.addEventListener('input', () => {
      for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(find.value.toLowerCase());
    });
    table.parentElement.before(find);
  }
}
"""
