// The list of all pictures, filtered and sorted here; only the visible rows are in the page.

const HEIGHT = 68; // height of a row in pixels, as in style.css
const folderOf = (path) => (path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "(top)");
const FIELDS = { verdict: (row) => row.verdict ?? "not analysed", status: (row) => row.status, conclusion: (row) => row.conclusion ?? "none", camera: (row) => row.camera || "(none)", folder: (row) => folderOf(row.path) };
const ORDERS = {
  score: (a, b) => (b.score ?? -1) - (a.score ?? -1),
  rising: (a, b) => (a.score ?? 2) - (b.score ?? 2),
  name: (a, b) => a.path.localeCompare(b.path, "en", { numeric: true }),
  scan: (a, b) => a.index - b.index,
};

export class List extends EventTarget {
  rows = []; // all, in the order of the scan
  listed = []; // those that match the filters, in the chosen order
  at = -1; // place in `listed`
  order = "score";
  words = [];
  chosen = {}; // field → value

  constructor(box) {
    super();
    this.box = box;
    this.space = box.firstElementChild;
    box.addEventListener("scroll", () => this.paint());
    new ResizeObserver(() => this.paint()).observe(box);
    box.addEventListener("click", (event) => {
      const row = event.target.closest("[role=option]");
      if (row) this.dispatchEvent(new CustomEvent("open", { detail: Number(row.dataset.index) }));
    });
  }

  add(rows) {
    for (const row of rows) {
      row.index = this.rows.length;
      row.searched = [row.path, row.camera, row.sha256, ...row.remarks, row.reason].filter(Boolean).join("\n").toLowerCase();
      this.rows.push(row);
    }
    this.sift();
  }

  // values of a field with the number of rows that have them, most frequent first
  values(field) {
    const counts = new Map();
    for (const row of this.rows) for (const value of field === "remark" ? row.remarks : [FIELDS[field](row)]) counts.set(value, (counts.get(value) ?? 0) + 1);
    return [...counts].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
  }

  sift() {
    const current = this.listed[this.at]?.index ?? -1;
    const wanted = Object.entries(this.chosen).filter(([, value]) => value);
    const fits = (row) =>
      wanted.every(([field, value]) => (field === "remark" ? row.remarks.includes(value) : FIELDS[field](row) === value)) &&
      this.words.every((word) => row.searched.includes(word));
    this.listed = this.rows.filter(fits).sort((a, b) => ORDERS[this.order](a, b) || a.index - b.index);
    this.at = this.listed.findIndex((row) => row.index === current);
    this.space.style.height = `${this.listed.length * HEIGHT}px`;
    this.dispatchEvent(new Event("sifted"));
    this.paint();
  }

  reach(index) {
    this.at = this.listed.findIndex((row) => row.index === index);
    if (this.at >= 0) {
      const top = this.at * HEIGHT;
      const { scrollTop, clientHeight } = this.box;
      if (top < scrollTop) this.box.scrollTop = top;
      else if (top + HEIGHT > scrollTop + clientHeight) this.box.scrollTop = top + HEIGHT - clientHeight;
    }
    this.paint();
  }

  paint() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / HEIGHT) - 3);
    const last = Math.min(this.listed.length, first + Math.ceil(this.box.clientHeight / HEIGHT) + 7);
    const made = new Map([...this.space.children].map((child) => [child.dataset.key, child]));
    const wanted = [];
    for (let place = first; place < last; place++) {
      const row = this.listed[place];
      const key = [row.index, row.status, row.conclusion, row.decided, row.note, place === this.at, place].join();
      wanted.push(made.get(key) ?? this.#row(row, place, key));
    }
    this.space.replaceChildren(...wanted);
    const id = this.at >= first && this.at < last ? `row-${this.listed[this.at].index}` : "";
    if (id) this.box.setAttribute("aria-activedescendant", id);
    else this.box.removeAttribute("aria-activedescendant");
  }

  #row(row, place, key) {
    const made = document.createElement("div");
    made.setAttribute("role", "option");
    made.id = `row-${row.index}`;
    made.dataset.key = key;
    made.dataset.index = row.index;
    made.style.top = `${place * HEIGHT}px`;
    made.ariaSelected = String(place === this.at);
    made.ariaPosInSet = String(place + 1);
    made.ariaSetSize = String(this.listed.length);
    const slash = row.path.lastIndexOf("/");
    const picture = document.createElement("span");
    picture.className = "thumb";
    if (row.verdict) {
      const image = new Image();
      image.loading = "lazy";
      image.alt = "";
      image.src = `api/pictures/${row.index}/thumbnail.webp`;
      picture.append(image);
    }
    const words = document.createElement("span");
    words.className = "words";
    words.append(part("b", row.path.slice(slash + 1)), part("small", slash >= 0 ? row.path.slice(0, slash) : ""), this.#marks(row));
    made.append(picture, words);
    made.title = row.score === null ? row.path : `${row.path}\nscore ${row.score.toFixed(4)}${row.one_in ? `: ${row.one_in}` : ""}`;
    return made;
  }

  #marks(row) {
    const marks = part("span", "", "marks");
    marks.append(part("span", row.verdict ?? "not analysed", `verdict ${(row.verdict ?? "failed").replace(" ", "-")}`));
    if (row.score !== null) marks.append(part("span", row.rarity || row.score.toFixed(4), "score"));
    if (row.status !== "open" || row.decided) marks.append(part("span", row.status, `status ${row.status.replaceAll(" ", "-")}`));
    if (row.conclusion) marks.append(part("span", row.conclusion, "conclusion"));
    if (row.note) marks.append(part("span", "✎", "note"));
    return marks;
  }
}

function part(tag, text, name = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}
