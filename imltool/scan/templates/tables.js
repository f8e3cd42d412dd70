const PRINTED = 500; // rows and case sheets on paper at most

// rows and sheets are kept in the page as inert text until they are shown
function element(block) {
  const holder = document.createElement("template");
  holder.innerHTML = block.textContent;
  return holder.content.firstElementChild;
}

function wordsOf(field) {
  return field.value.toLowerCase().split(/\s+/).filter(Boolean);
}

// A table that shows PAGE of the listed rows at a time, because more make browsers slow.
class PagedTable {
  // row: makes the row of an entry; turned: called after every page change
  constructor(table, pager, row, turned = () => {}) {
    Object.assign(this, { table, pager, row, turned, body: table.tBodies[0], listed: [], first: 0 });
    [this.back, this.on] = pager.querySelectorAll("button");
    for (const [button, by] of [[this.back, -PAGE], [this.on, PAGE]]) {
      button.addEventListener("click", () => { this.turn(this.first + by); table.scrollIntoView(); });
    }
  }

  // show the page with the entry at this place
  turn(place) {
    this.first = place - (place % PAGE);
    const last = Math.min(this.first + PAGE, this.listed.length);
    this.body.replaceChildren(...this.listed.slice(this.first, last).map(this.row));
    this.pager.hidden = this.listed.length <= PAGE;
    this.pager.querySelector("span").textContent = `Rows ${this.first + 1} to ${last} of ${this.listed.length}`;
    this.back.disabled = this.first === 0;
    this.on.disabled = last === this.listed.length;
    this.turned();
  }

  // for printing, show all listed entries up to a limit; returns them
  print() {
    const printed = this.listed.slice(0, PRINTED);
    this.body.replaceChildren(...printed.map(this.row));
    return printed;
  }
}
