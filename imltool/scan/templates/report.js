(() => {
  const get = (id) => document.getElementById(id);
  const table = get("results");
  const dialog = get("case");
  const alphabet = new Intl.Collator("en", { numeric: true }).compare;

  // a case is four blocks of inert text; only the first is parsed before the case is shown
  const cases = [...document.querySelectorAll("script.case")].map((block) => {
    const line = block.nextElementSibling;
    const sheet = line.nextElementSibling;
    return { ...JSON.parse(block.textContent), line, sheet, pictures: sheet.nextElementSibling };
  });
  const rows = new PagedTable(table, get("pager"), (one) => element(one.line), settle);
  let current = 0; // place in `rows.listed` of the row that has, or last had, the focus
  let opacity = 100;

  function order() {
    const head = table.querySelector("[aria-sort$=ending]");
    const key = head.dataset.key;
    const sign = head.ariaSort === "ascending" ? 1 : -1;
    const compare = key === "name" || key === "decision" ? (a, b) => alphabet(a[key], b[key]) : (a, b) => a[key] - b[key];
    return (a, b) => sign * compare(a, b) || alphabet(a.name, b.name);
  }

  function list() {
    const words = wordsOf(get("filter"));
    const verdict = get("verdict").value;
    const status = get("status")?.value ?? "";
    for (const tile of document.querySelectorAll("button.tile")) tile.ariaPressed = String(tile.dataset.verdict === verdict);
    const fits = (one, word) => one.text.includes(word) || (word.length > 3 && one.sha256.startsWith(word));
    rows.listed = cases.filter((one) => (!verdict || one.verdict === verdict) && (!status || one.status === status) && words.every((word) => fits(one, word)));
    rows.listed.sort(order());
    get("shown").textContent = rows.listed.length === cases.length ? `${cases.length} listed` : `${rows.listed.length} of ${cases.length} listed`;
    get("empty").hidden = rows.listed.length > 0;
    current = 0;
    rows.turn(0);
  }

  // after a page change, the focus is on a row of the new page
  function settle() {
    reach(current >= rows.first && current < rows.first + PAGE ? current : rows.first, false);
  }

  function reach(place, focus = true) {
    if (!rows.listed.length) return;
    if (place < rows.first || place >= rows.first + PAGE) rows.turn(place);
    // one stop for the Tab key in the whole table: arrow keys move between its rows
    rows.body.querySelector("[tabindex='0']")?.setAttribute("tabindex", "-1");
    current = place;
    const button = rows.body.rows[current - rows.first].querySelector(".open");
    button.tabIndex = 0;
    if (focus) button.focus();
  }

  function sort(head) {
    const rising = head.ariaSort === "none" ? head.dataset.key === "name" : head.ariaSort === "descending";
    for (const other of table.querySelectorAll("[aria-sort]")) other.ariaSort = "none";
    head.ariaSort = rising ? "ascending" : "descending";
    list();
  }

  function sheet(one) {
    const made = element(one.sheet);
    const pictures = JSON.parse(one.pictures.textContent);
    for (const image of made.querySelectorAll("[data-source]")) image.src = pictures[image.dataset.source];
    return made;
  }

  function fade(value) {
    opacity = value;
    get("slot").querySelector(".over").style.opacity = value / 100;
  }

  function show(place) {
    reach(place, false);
    const made = sheet(rows.listed[place]);
    get("slot").replaceChildren(made);
    const slider = made.querySelector(".opacity");
    if (slider) { // the opacity is kept from case to case
      slider.value = opacity;
      slider.addEventListener("input", () => fade(slider.value));
      fade(opacity);
    }
    get("place").textContent = `${place + 1} of ${rows.listed.length}`;
    get("previous").disabled = place === 0;
    get("next").disabled = place === rows.listed.length - 1;
    if (location.hash.slice(1) !== encodeURIComponent(rows.listed[place].name)) history.replaceState(null, "", `#${encodeURIComponent(rows.listed[place].name)}`);
    const opened = !dialog.open;
    if (opened) dialog.showModal();
    if (opened || !dialog.contains(document.activeElement) || document.activeElement.disabled) made.querySelector("h2").focus();
    dialog.scrollTop = 0;
  }

  // show one figure alone, as large as the window; the file beside the report has more pixels
  function enlarge(view) {
    const figures = view.closest(".figures");
    const one = !figures.classList.contains("one");
    for (const other of get("slot").querySelectorAll(".figures")) other.hidden = one && other !== figures;
    figures.classList.toggle("one", one);
    view.closest("figure").classList.toggle("large", one);
    const image = view.querySelector("img");
    if (!view.dataset.beside) return;
    const over = view.querySelector(".over");
    image.dataset.small ??= image.src;
    const outline = view.querySelector(".outline");
    if (over) over.hidden = one;
    if (outline) outline.style.display = one ? "none" : "";
    image.onerror = () => { image.onerror = null; image.src = image.dataset.small; if (over) over.hidden = false; if (outline) outline.style.display = ""; };
    image.src = one ? view.dataset.beside : image.dataset.small;
  }

  function step(by) {
    const place = current + by;
    if (place < 0 || place >= rows.listed.length) return;
    if (dialog.open) show(place);
    else reach(place);
  }

  get("filter").addEventListener("input", list);
  get("verdict").addEventListener("change", list);
  get("status")?.addEventListener("change", list);
  for (const tile of document.querySelectorAll("button.tile")) {
    tile.addEventListener("click", () => { get("verdict").value = tile.dataset.verdict; list(); });
  }
  get("slot").addEventListener("click", (event) => {
    const view = event.target.closest(".view[role=button]");
    if (view) enlarge(view);
  });
  get("previous").addEventListener("click", () => step(-1));
  get("next").addEventListener("click", () => step(1));
  get("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => { get("slot").replaceChildren(); history.replaceState(null, "", location.pathname + location.search); reach(current); });
  for (const head of table.querySelectorAll("th[data-key]")) head.addEventListener("click", () => sort(head));
  rows.body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row) show(rows.first + row.sectionRowIndex);
  });
  // a picture whose file beside the report is missing is replaced by text
  document.addEventListener("error", (event) => {
    if (event.target.onerror) return;
    event.target.replaceWith(`${event.target.alt} (the file is not beside this report)`);
  }, true);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const field = event.target.matches("input, select");
    const inside = rows.body.contains(document.activeElement);
    if (dialog.open) {
      if (["Enter", " "].includes(event.key) && event.target.matches(".view[role=button]")) enlarge(event.target);
      else if (!field && event.key === "ArrowLeft") step(-1);
      else if (!field && event.key === "ArrowRight") step(1);
      else return;
    } else if (field) {
      if (event.target.id !== "filter" || event.key !== "ArrowDown") return;
      reach(current);
    } else if (event.key === "/") get("filter").focus();
    else if (event.key === "ArrowDown" && inside) step(1);
    else if (event.key === "ArrowUp" && inside) step(-1);
    else if (event.key === "ArrowDown" && document.activeElement === document.body) reach(current);
    else return;
    event.preventDefault();
  });
  // every case has its own address: report.html#NAME
  function fromAddress() {
    let name = "";
    try {
      name = decodeURIComponent(location.hash.slice(1));
    } catch { /* no address of ours */ }
    const place = rows.listed.findIndex((one) => one.name === name);
    if (place >= 0) show(place);
  }
  window.addEventListener("hashchange", fromAddress);
  const folded = [...document.querySelectorAll("details.panel")];
  let were = [];
  window.addEventListener("beforeprint", () => {
    were = folded.map((one) => one.open);
    for (const one of folded) one.open = true;
    const printed = rows.print();
    get("sheets").replaceChildren(...(get("sheeted").checked ? printed.map(sheet) : []));
    if (printed.length < rows.listed.length) get("sheets").prepend(`Only the first ${PRINTED} of ${rows.listed.length} listed pictures are printed.`);
  });
  window.addEventListener("afterprint", () => { get("sheets").replaceChildren(); folded.forEach((one, at) => (one.open = were[at])); rows.turn(rows.first); });
  list();
  fromAddress();
})();
