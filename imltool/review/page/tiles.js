// Tiles of large pictures: requested when they become visible, the last used ones cached, drawn from coarse to fine.

const KEEP = 240; // tiles of 512×512: at most 1 MB each
const AT_ONCE = 6;

export class TileStore extends EventTarget {
  #held = new Map();
  #waiting = new Map(); // address → { address, ahead }
  #running = new Map(); // address → AbortController
  failed = new Map();

  get idle() {
    return !this.#running.size && !this.#waiting.size;
  }

  peek(address) {
    return this.#held.get(address) ?? null;
  }

  // the tile, or null, in which case it is requested
  want(address, ahead = false) {
    const found = this.#held.get(address);
    if (found) {
      this.#held.delete(address);
      this.#held.set(address, found); // now the most recently used
      return found;
    }
    if (!this.failed.has(address) && !this.#running.has(address)) {
      this.#waiting.delete(address);
      this.#waiting.set(address, { address, ahead });
      this.#fill();
    }
    return null;
  }

  // drop requests that have not begun: another part is visible now
  forget() {
    this.#waiting.clear();
  }

  #fill() {
    while (this.#running.size < AT_ONCE && this.#waiting.size) {
      const all = [...this.#waiting.values()];
      const next = all.find(({ ahead }) => !ahead) ?? all[0];
      this.#waiting.delete(next.address);
      this.#load(next.address);
    }
  }

  async #load(address) {
    this.#running.set(address, true);
    try {
      const reply = await fetch(address);
      if (!reply.ok) throw new Error((await reply.json().catch(() => ({}))).error ?? `the server answered ${reply.status}`);
      const bitmap = await createImageBitmap(await reply.blob(), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
      this.#held.set(address, bitmap);
      while (this.#held.size > KEEP) {
        const [oldest, old] = this.#held.entries().next().value;
        old.close();
        this.#held.delete(oldest);
      }
    } catch (error) {
      this.failed.set(address, error.message);
    }
    this.#running.delete(address);
    this.#fill();
    this.dispatchEvent(new Event("loaded"));
  }
}

// A layer of a picture: `at` is the address of its tiles without "/LEVEL/COLUMN/ROW".
export class TileLayer {
  constructor(store, at, width, height, tile = 512) {
    Object.assign(this, { store, at, width, height, tile });
    this.levels = [[width, height]];
    while (Math.max(...this.levels.at(-1)) > tile) this.levels.push(this.levels.at(-1).map((side) => Math.max(1, (side + 1) >> 1)));
  }

  // the level to draw when a picture pixel takes `scale` device pixels
  level(scale) {
    return Math.min(Math.max(Math.floor(Math.log2(1 / scale) + 0.05), 0), this.levels.length - 1);
  }

  get fault() {
    for (const [address, why] of this.store.failed) if (address.startsWith(`${this.at}/`)) return why;
    return "";
  }

  // columns and rows of a level's tiles in a part of the picture
  *tiles(level, [x1, y1, x2, y2]) {
    const [wide, tall] = this.levels[level];
    const [across, down] = [wide / this.width, tall / this.height];
    const last = (side) => Math.ceil(side / this.tile) - 1;
    const bound = (value, most) => Math.min(Math.max(Math.floor(value / this.tile), 0), most);
    for (let row = bound(y1 * down, last(tall)); row <= bound(y2 * down, last(tall)); row++) {
      for (let column = bound(x1 * across, last(wide)); column <= bound(x2 * across, last(wide)); column++) yield [column, row];
    }
  }

  address(level, column, row) {
    return `${this.at}/${level}/${column}/${row}`;
  }

  prefetch(scale) {
    const level = this.level(scale);
    for (const [column, row] of this.tiles(level, [0, 0, this.width, this.height])) this.store.want(this.address(level, column, row), true);
  }

  // draw the available tiles of the visible part; true when none was missing. The place is in device pixels.
  draw(pen, [left, top, scale], smooth) {
    const level = this.level(scale);
    const { width: wide, height: tall } = pen.canvas;
    const seen = [-left / scale, -top / scale, (wide - left) / scale, (tall - top) / scale];
    if (seen[2] < 0 || seen[3] < 0 || seen[0] > this.width || seen[1] > this.height) return true;
    pen.imageSmoothingEnabled = smooth;
    pen.imageSmoothingQuality = "medium";
    let whole = true;
    const missing = [];
    for (const [column, row] of this.tiles(level, seen)) {
      if (!this.store.want(this.address(level, column, row))) {
        whole = false;
        missing.push([column, row]);
      }
    }
    if (!whole) {
      const coarse = this.levels.length - 1;
      if (coarse > level) this.store.want(this.address(coarse, 0, 0));
      for (let over = coarse; over > level; over--) this.#paint(pen, over, seen, left, top, scale);
    }
    this.#paint(pen, level, seen, left, top, scale);
    return whole;
  }

  #paint(pen, level, seen, left, top, scale) {
    const [wide, tall] = this.levels[level];
    const [across, down] = [(this.width / wide) * scale, (this.height / tall) * scale];
    for (const [column, row] of this.tiles(level, seen)) {
      const bitmap = this.store.peek(this.address(level, column, row));
      if (!bitmap) continue;
      const x1 = Math.round(left + column * this.tile * across), y1 = Math.round(top + row * this.tile * down);
      const x2 = Math.round(left + (column * this.tile + bitmap.width) * across), y2 = Math.round(top + (row * this.tile + bitmap.height) * down);
      pen.clearRect(x1, y1, x2 - x1, y2 - y1);
      pen.drawImage(bitmap, x1, y1, x2 - x1, y2 - y1);
    }
  }

  // a square of the full-size picture as pixels, or null while a tile is missing
  pixels(x, y, side) {
    const canvas = new OffscreenCanvas(side, side);
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    let whole = true;
    for (const [column, row] of this.tiles(0, [x, y, x + side - 1, y + side - 1])) {
      const bitmap = this.store.want(this.address(0, column, row));
      if (bitmap) pen.drawImage(bitmap, column * this.tile - x, row * this.tile - y);
      else whole = false;
    }
    return whole ? pen.getImageData(0, 0, side, side) : null;
  }
}
