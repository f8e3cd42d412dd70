// The view of a picture: two canvases with one viewport; layers over each other, side by side or swiped.

import { get } from "./shared/api.js";
import { grips } from "./shared/pointer.js";
import { TileLayer } from "./tiles.js";

export const MODES = ["layers", "side", "swipe"];
const BOX = "#ff9600";

export class Viewer extends EventTarget {
  mode = "layers";
  compare = "map";
  shown = { map: 60, outline: 100, ela: 0, noise: 0, trace: 0 }; // opacities, percent
  lines = false;
  light = { brightness: 100, contrast: 100 };
  divider = 0.5;
  picture = null;
  pointed = null; // position of the pointer, in picture pixels
  #scratch = document.createElement("canvas");
  #waiting = false;

  constructor(store, panes, viewport, boxes) {
    super();
    Object.assign(this, { store, panes, viewport, boxes });
    store.addEventListener("loaded", () => this.redraw());
  }

  // index, width and height of the picture; its layers are requested as they become visible
  show(index, width, height) {
    const layer = (name) => new TileLayer(this.store, `api/pictures/${index}/layers/${name}`, width, height);
    const names = ["original", "map", "wash", "ela", "noise"];
    this.picture = { index, width, height, layers: Object.fromEntries(names.map((name) => [name, layer(name)])), outline: null, parts: [], trace: null, copies: [] };
    this.store.forget();
    this.viewport.show(width, height);
    this.#outline(this.picture);
    this.redraw();
  }

  clear() {
    this.picture = null;
    this.redraw();
  }

  // request the next picture's tiles before it is opened
  prefetch(index, width, height) {
    const { clientWidth: wide, clientHeight: tall } = this.viewport.stage;
    const scale = Math.min(wide / width, tall / height) * 0.97 * this.dense;
    for (const name of ["original", ...(this.shown.map ? ["wash"] : [])]) {
      new TileLayer(this.store, `api/pictures/${index}/layers/${name}`, width, height).prefetch(scale);
    }
  }

  get dense() {
    return devicePixelRatio || 1;
  }

  // device pixels per picture pixel, in percent
  get zoom() {
    return Math.round(this.viewport.scale * this.dense * 100);
  }

  async #outline(picture) {
    const found = await get(`pictures/${picture.index}/outline`).catch(() => ({ parts: [] }));
    picture.outline = new Path2D();
    picture.parts = found.parts;
    for (const part of found.parts) {
      part.forEach((value, at) => {
        if (at % 2) return;
        picture.outline[at ? "lineTo" : "moveTo"](part[at] + 0.5, part[at + 1] + 0.5);
      });
      picture.outline.closePath();
    }
    this.redraw();
  }

  redraw() {
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      this.draw();
    });
  }

  draw() {
    const [first, second] = this.panes;
    if (!first.clientWidth || !first.clientHeight) return; // a phone shows the list
    second.hidden = this.mode !== "side";
    for (const pane of this.panes) {
      if (pane.hidden) continue;
      const [wide, tall] = [Math.round(pane.clientWidth * this.dense), Math.round(pane.clientHeight * this.dense)];
      if (pane.width !== wide || pane.height !== tall) Object.assign(pane, { width: wide, height: tall });
    }
    const pen = first.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, first.width, first.height);
    if (!this.picture) {
      second.getContext("2d").clearRect(0, 0, second.width, second.height);
      return;
    }
    let whole = this.#layer(pen, "original", 1);
    if (this.mode === "layers") {
      for (const [name, opacity] of [["ela", this.shown.ela], ["noise", this.shown.noise], ["wash", this.shown.map]]) {
        if (opacity > 0) whole = this.#layer(pen, name, opacity / 100) && whole;
      }
      if (this.picture.trace && this.shown.trace > 0) this.#trace(pen, this.shown.trace / 100);
    } else if (this.mode === "swipe") {
      const at = Math.round(this.divider * first.width);
      pen.save();
      pen.beginPath();
      pen.rect(at, 0, first.width - at, first.height);
      pen.clip();
      pen.clearRect(at, 0, first.width - at, first.height);
      whole = this.#compared(pen) && whole;
      pen.restore();
    } else {
      const other = second.getContext("2d");
      other.setTransform(1, 0, 0, 1, 0, 0);
      other.clearRect(0, 0, second.width, second.height);
      whole = this.#compared(other) && whole;
      this.#over(other);
    }
    this.#over(pen);
    this.dispatchEvent(new CustomEvent("drawn", { detail: { whole, fault: this.picture.layers.original.fault } }));
  }

  get #place() {
    const { x, y, scale } = this.viewport;
    return [x * this.dense, y * this.dense, scale * this.dense];
  }

  #layer(pen, name, opacity) {
    const scratch = this.#scratch;
    const { width, height } = pen.canvas;
    if (scratch.width !== width || scratch.height !== height) Object.assign(scratch, { width, height });
    const under = scratch.getContext("2d");
    under.clearRect(0, 0, width, height);
    const [, , scale] = this.#place;
    const whole = this.picture.layers[name].draw(under, this.#place, scale < 2);
    pen.globalAlpha = opacity;
    const { brightness, contrast } = this.light;
    if (name === "original" && (brightness !== 100 || contrast !== 100)) pen.filter = `brightness(${brightness}%) contrast(${contrast}%)`;
    pen.drawImage(scratch, 0, 0);
    pen.filter = "none";
    pen.globalAlpha = 1;
    return whole;
  }

  #compared(pen) {
    if (this.compare !== "trace") return this.#layer(pen, this.compare, 1);
    const whole = this.#layer(pen, "original", 0.35);
    if (this.picture.trace) this.#trace(pen, 1);
    return whole;
  }

  #trace(pen, opacity) {
    const [left, top, scale] = this.#place;
    const { width, height, trace } = this.picture;
    pen.globalAlpha = opacity;
    pen.imageSmoothingEnabled = true;
    pen.drawImage(trace.bitmap, left, top, width * scale, height * scale);
    pen.globalAlpha = 1;
  }

  // outlines, lines, boxes and the crosshair are drawn over everything
  #over(pen) {
    const [left, top, scale] = this.#place;
    const { picture, dense } = this;
    if (picture.outline && this.shown.outline > 0) {
      pen.save();
      pen.setTransform(scale, 0, 0, scale, left, top);
      pen.globalAlpha = this.shown.outline / 100;
      pen.lineJoin = "round";
      for (const [colour, width] of [["#000", 3.5], ["#fff", 1.5]]) {
        pen.strokeStyle = colour;
        pen.lineWidth = (width * dense) / scale;
        pen.stroke(picture.outline);
      }
      pen.restore();
    }
    if (this.lines) picture.copies.forEach((copy, at) => this.#copied(pen, copy, at));
    this.boxes.boxes.forEach((box, at) => this.#box(pen, this.boxes.moved(box), at === this.boxes.chosen));
    const draft = this.boxes.draft;
    if (draft) this.#box(pen, draft, false);
    if (this.pointed && this.mode === "side") {
      const [x, y] = [left + this.pointed[0] * scale, top + this.pointed[1] * scale];
      pen.strokeStyle = "#fff";
      pen.globalCompositeOperation = "difference";
      pen.beginPath();
      pen.moveTo(x - 14 * dense, y);
      pen.lineTo(x + 14 * dense, y);
      pen.moveTo(x, y - 14 * dense);
      pen.lineTo(x, y + 14 * dense);
      pen.lineWidth = dense;
      pen.stroke();
      pen.globalCompositeOperation = "source-over";
    }
  }

  #copied(pen, copy, at) {
    const [left, top, scale] = this.#place;
    const colour = `hsl(${(190 + 75 * at) % 360} 95% 60%)`;
    for (const [x1, y1, x2, y2] of copy.lines) {
      const [a, b, c, d] = [left + x1 * scale, top + y1 * scale, left + x2 * scale, top + y2 * scale];
      for (const [stroke, width] of [["rgb(0 0 0 / .6)", 3], [colour, 1.2]]) {
        pen.strokeStyle = stroke;
        pen.lineWidth = width * this.dense;
        pen.beginPath();
        pen.moveTo(a, b);
        pen.lineTo(c, d);
        pen.stroke();
      }
      const half = 2.5 * this.dense;
      pen.fillStyle = pen.strokeStyle = colour;
      pen.lineWidth = 1.5 * this.dense;
      pen.fillRect(a - half, b - half, 2 * half, 2 * half);
      pen.fillStyle = "#fff";
      pen.fillRect(c - half, d - half, 2 * half, 2 * half);
      pen.strokeRect(c - half, d - half, 2 * half, 2 * half);
    }
  }

  #box(pen, [x1, y1, x2, y2], chosen) {
    const [left, top, scale] = this.#place;
    const corner = [left + x1 * scale, top + y1 * scale, (x2 - x1) * scale, (y2 - y1) * scale];
    for (const [colour, width] of [["rgb(0 0 0 / .6)", 4], [BOX, chosen ? 2.5 : 1.5]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = width * this.dense;
      pen.strokeRect(...corner);
    }
    if (!chosen) return;
    for (const [x, y] of grips([x1, y1, x2, y2])) {
      pen.fillStyle = "#fff";
      pen.fillRect(left + x * scale - 4 * this.dense, top + y * scale - 4 * this.dense, 8 * this.dense, 8 * this.dense);
    }
  }
}

