(() => {
  const get = (id) => document.getElementById(id);
  const table = get("not-analysed");
  // the first page is in the table itself, also for browsers without scripts
  const files = [...table.tBodies[0].rows].map((made) => ({ made }));
  for (const block of document.querySelectorAll("script.failed")) files.push({ block });
  const row = (one) => (one.made ??= element(one.block));
  const text = (one) => (one.text ??= row(one).textContent.toLowerCase());
  const rows = new PagedTable(table, get("failed-pager"), row);

  function list() {
    const words = wordsOf(get("failed-filter"));
    rows.listed = files.filter((one) => words.every((word) => text(one).includes(word)));
    get("failed-shown").textContent = rows.listed.length === files.length ? `${files.length} listed` : `${rows.listed.length} of ${files.length} listed`;
    get("failed-empty").hidden = rows.listed.length > 0;
    rows.turn(0);
  }

  get("failed-filter").addEventListener("input", list);
  window.addEventListener("beforeprint", () => {
    const printed = rows.print();
    const left = rows.listed.length - printed.length;
    get("failed-printed").textContent = left ? `and ${left} more, in results.csv` : "";
  });
  window.addEventListener("afterprint", () => { get("failed-printed").textContent = ""; rows.turn(rows.first); });
  list();
})();
