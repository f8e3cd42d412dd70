"use strict";
(() => {
  const get = (id) => document.getElementById(id);
  const body = document.querySelector("#results tbody");
  if (!body) return;
  const rows = [...body.rows];
  const dialog = get("case");
  const numeric = new Set(["score", "area", "regions", "size", "remarks"]);
  const order = new Intl.Collator("en", { numeric: true }).compare;
  const cases = new Map(rows.map((row) => [row, JSON.parse(row.dataset.case)]));
  const searched = new Map(rows.map((row) => {
    const { facts, remarks } = cases.get(row);
    return [row, [row.dataset.name, ...facts.map((fact) => fact[1]), ...remarks].join("\n").toLowerCase()];
  }));
  let listed = rows;
  let current = rows[0];
  let opacity = 100;

  function filter() {
    const words = get("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const verdict = get("verdict").value;
    for (const row of rows) {
      const data = row.dataset;
      const text = searched.get(row);
      row.hidden = !((!verdict || data.verdict === verdict)
        && words.every((word) => text.includes(word) || data.sha256.startsWith(word)));
    }
    list();
  }

  function list() {
    listed = [...body.rows].filter((row) => !row.hidden);
    get("shown").textContent = listed.length === rows.length ? `${rows.length} listed` : `${listed.length} of ${rows.length} listed`;
    get("empty").hidden = listed.length > 0;
    if (listed.length && !listed.includes(current)) reach(listed[0], false);
  }

  function reach(row, focus = true) {
    current.tabIndex = -1;
    current = row;
    row.tabIndex = 0;
    if (focus) row.focus();
  }

  function sort(head) {
    const key = head.dataset.key;
    const before = head.getAttribute("aria-sort");
    const rising = before === "none" ? !numeric.has(key) : before === "descending";
    for (const other of head.parentNode.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const compare = numeric.has(key) ? (a, b) => a.dataset[key] - b.dataset[key] : (a, b) => order(a.dataset[key], b.dataset[key]);
    rows.sort((a, b) => (rising ? compare(a, b) : compare(b, a)) || order(a.dataset.name, b.dataset.name));
    body.append(...rows);
    list();
  }

  function sheet(row) {
    const data = row.dataset;
    const made = get("sheet").content.firstElementChild.cloneNode(true);
    const one = (selector) => made.querySelector(selector);
    const texts = {
      ...data,
      points: Number(data.score).toFixed(3),
      share: row.cells[4].textContent,
      extent: `${data.width} × ${data.height} px, ${data.bytes}`,
    };
    for (const place of made.querySelectorAll("[data-text]")) place.textContent = texts[place.dataset.text];
    one("[data-slot=verdict]").replaceWith(row.querySelector(".verdict").cloneNode(true));
    one(".figures").hidden = !data.picture;
    one(".missing").hidden = Boolean(data.picture);
    if (data.picture) {
      for (const image of made.querySelectorAll("[data-source]")) {
        image.src = data[image.dataset.source];
        if (image.alt) image.alt += `: ${data.name}`;
      }
    }
    const regions = JSON.parse(data.list);
    one(".regions").hidden = !regions.length;
    for (const region of regions) {
      const line = one(".regions tbody").insertRow();
      const share = ((100 * region.area) / data.size).toFixed(1);
      for (const value of [`${region.x}, ${region.y}`, `${region.width} × ${region.height}`, `${share} %`, region.score.toFixed(3)]) {
        const cell = line.insertCell();
        cell.className = "num";
        cell.textContent = value;
      }
    }
    const rest = data.regions - regions.length;
    one(".more").textContent = !regions.length ? "No region above the mask threshold." : rest ? `and ${rest} smaller` : "";
    const { facts, remarks } = cases.get(row);
    const add = (place, kind, text) => place.appendChild(document.createElement(kind)).textContent = text;
    for (const [name, value] of facts) {
      add(one(".facts"), "dt", name);
      add(one(".facts"), "dd", value);
    }
    for (const remark of remarks) add(one(".remarks"), "li", remark);
    one(".none").hidden = remarks.length > 0;
    return made;
  }

  function fade(value) {
    opacity = value;
    get("slot").querySelector(".over").style.opacity = value / 100;
  }

  function show(row) {
    reach(row, false);
    const made = sheet(row);
    get("slot").replaceChildren(made);
    // the opacity stays from case to case
    const slider = made.querySelector(".opacity");
    slider.value = opacity;
    slider.addEventListener("input", () => fade(slider.value));
    fade(opacity);
    const place = listed.indexOf(row);
    get("place").textContent = `${place + 1} of ${listed.length}`;
    get("previous").disabled = place <= 0;
    get("next").disabled = place >= listed.length - 1;
    const opened = !dialog.open;
    if (opened) dialog.showModal();
    if (opened || !dialog.contains(document.activeElement) || document.activeElement.disabled) made.querySelector("h2").focus();
    dialog.scrollTop = 0;
  }

  function step(by) {
    const row = listed[listed.indexOf(current) + by];
    if (!row) return;
    if (dialog.open) show(row);
    else reach(row);
  }

  get("filter").addEventListener("input", filter);
  get("verdict").addEventListener("change", filter);
  get("previous").addEventListener("click", () => step(-1));
  get("next").addEventListener("click", () => step(1));
  get("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => { get("slot").replaceChildren(); current.focus(); });
  for (const head of document.querySelectorAll("#results th[data-key]")) head.addEventListener("click", () => sort(head));
  body.addEventListener("click", (event) => { const row = event.target.closest("tr"); if (row) show(row); });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const field = event.target.matches("input, select");
    if (dialog.open) {
      if (!field && event.key === "ArrowLeft") step(-1);
      else if (!field && event.key === "ArrowRight") step(1);
      else return;
    } else if (field) {
      if (event.target.id !== "filter" || event.key !== "ArrowDown" || !listed.length) return;
      reach(current);
    } else if (event.key === "/") get("filter").focus();
    else if (document.activeElement !== current) {
      if (event.key !== "ArrowDown" || document.activeElement !== document.body || !listed.length) return;
      reach(current);
    } else if (event.key === "ArrowDown") step(1);
    else if (event.key === "ArrowUp") step(-1);
    else if (event.key === "Enter") show(current);
    else return;
    event.preventDefault();
  });
  window.addEventListener("beforeprint", () => {
    const wanted = get("printed").value;
    const chosen = listed.filter((row) => wanted === "all" || (wanted && row.dataset.verdict === wanted));
    get("sheets").replaceChildren(...chosen.map(sheet));
  });
  window.addEventListener("afterprint", () => get("sheets").replaceChildren());
  list();
})();
