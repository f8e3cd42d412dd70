"use strict";
(() => {
  const PAGE = 100; // rows in the table at once: more make browsers slow
  const PRINTED = 500; // cases on paper at most
  const get = (id) => document.getElementById(id);
  const table = get("results");
  const body = table.tBodies[0];
  const dialog = get("case");
  const alphabet = new Intl.Collator("en", { numeric: true }).compare;

  // a case is four blocks of inert text, of which only the first is read before the case is shown
  const cases = [...document.querySelectorAll("script.case")].map((block) => {
    const line = block.nextElementSibling;
    const sheet = line.nextElementSibling;
    return { ...JSON.parse(block.textContent), line, sheet, pictures: sheet.nextElementSibling };
  });
  let listed = cases; // the cases that fit the filter, in the order of the table
  let current = 0; // place in `listed` of the row that has, or last had, the focus
  let first = 0; // place in `listed` of the first row in the table
  let opacity = 100;

  function element(block) {
    const holder = document.createElement("template");
    holder.innerHTML = block.textContent;
    return holder.content.firstElementChild;
  }

  function order() {
    const head = table.querySelector("[aria-sort$=ending]");
    const key = head.dataset.key;
    const sign = head.ariaSort === "ascending" ? 1 : -1;
    const compare = key === "name" ? (a, b) => alphabet(a.name, b.name) : (a, b) => a[key] - b[key];
    return (a, b) => sign * compare(a, b) || alphabet(a.name, b.name);
  }

  function list() {
    const words = get("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const verdict = get("verdict").value;
    const fits = (one, word) => one.text.includes(word) || (word.length > 3 && one.sha256.startsWith(word));
    listed = cases.filter((one) => (!verdict || one.verdict === verdict) && words.every((word) => fits(one, word)));
    listed.sort(order());
    get("shown").textContent = listed.length === cases.length ? `${cases.length} listed` : `${listed.length} of ${cases.length} listed`;
    get("empty").hidden = listed.length > 0;
    current = 0;
    turn(0);
  }

  function turn(place) {
    first = place - (place % PAGE);
    const last = Math.min(first + PAGE, listed.length);
    body.replaceChildren(...listed.slice(first, last).map((one) => element(one.line)));
    get("pager").hidden = listed.length <= PAGE;
    get("range").textContent = `Rows ${first + 1} to ${last} of ${listed.length}`;
    get("back").disabled = first === 0;
    get("on").disabled = last === listed.length;
    reach(current >= first && current < last ? current : first, false);
  }

  function reach(place, focus = true) {
    if (!listed.length) return;
    if (place < first || place >= first + PAGE) turn(place);
    // one stop for the Tab key in the whole table: arrow keys move between its rows
    body.querySelector("[tabindex='0']")?.setAttribute("tabindex", "-1");
    current = place;
    const button = body.rows[current - first].querySelector(".open");
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
    const made = sheet(listed[place]);
    get("slot").replaceChildren(made);
    const slider = made.querySelector(".opacity");
    if (slider) { // the opacity stays from case to case
      slider.value = opacity;
      slider.addEventListener("input", () => fade(slider.value));
      fade(opacity);
    }
    get("place").textContent = `${place + 1} of ${listed.length}`;
    get("previous").disabled = place === 0;
    get("next").disabled = place === listed.length - 1;
    const opened = !dialog.open;
    if (opened) dialog.showModal();
    if (opened || !dialog.contains(document.activeElement) || document.activeElement.disabled) made.querySelector("h2").focus();
    dialog.scrollTop = 0;
  }

  function step(by) {
    const place = current + by;
    if (place < 0 || place >= listed.length) return;
    if (dialog.open) show(place);
    else reach(place);
  }

  get("filter").addEventListener("input", list);
  get("verdict").addEventListener("change", list);
  get("previous").addEventListener("click", () => step(-1));
  get("next").addEventListener("click", () => step(1));
  get("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => { get("slot").replaceChildren(); reach(current); });
  for (const [id, by] of [["back", -PAGE], ["on", PAGE]]) {
    get(id).addEventListener("click", () => { turn(first + by); table.scrollIntoView(); });
  }
  for (const head of table.querySelectorAll("th[data-key]")) head.addEventListener("click", () => sort(head));
  body.addEventListener("click", (event) => { const row = event.target.closest("tr"); if (row) show(first + row.sectionRowIndex); });
  // a picture beside the report that is not there is told in words
  document.addEventListener("error", (event) => {
    event.target.replaceWith(`${event.target.alt} (the file is not beside this report)`);
  }, true);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const field = event.target.matches("input, select");
    const inside = body.contains(document.activeElement);
    if (dialog.open) {
      if (!field && event.key === "ArrowLeft") step(-1);
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
  // paper has no pages of a table: all that is listed is printed, each case on its sheet
  window.addEventListener("beforeprint", () => {
    const printed = listed.slice(0, PRINTED);
    body.replaceChildren(...printed.map((one) => element(one.line)));
    get("sheets").replaceChildren(...(get("sheeted").checked ? printed.map(sheet) : []));
    if (printed.length < listed.length) get("sheets").prepend(`Printed are the first ${PRINTED} of ${listed.length} listed pictures.`);
  });
  window.addEventListener("afterprint", () => { get("sheets").replaceChildren(); turn(first); });
  list();
})();
