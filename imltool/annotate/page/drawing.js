// The display: the picture, and on a separate canvas above it masks, boxes, clicks and suggestions. Scaling a large
// picture takes long, so it is painted again only when it moves.

import { paint } from "./masks.js";
import { grips } from "./shared/pointer.js";

const OPEN = [255, 150, 0], DONE = [0, 170, 145], KEPT = [40, 130, 230], SUGGESTED = "#b06ef0";
const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;
const COLOURS = { proposed: OPEN, waiting: OPEN, failed: OPEN, mask: DONE, box: KEPT };

function clear(canvas, pen) {
  const dense = devicePixelRatio || 1;
  const [wide, tall] = [Math.round(canvas.clientWidth * dense), Math.round(canvas.clientHeight * dense)];
  if (canvas.width !== wide || canvas.height !== tall) Object.assign(canvas, { width: wide, height: tall });
  pen.setTransform(dense, 0, 0, dense, 0, 0);
  pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
}

export class Drawing {
  opacity = 0.45;
  brightness = 100; // percent
  contrast = 100;
  hidden = false;
  #painted = new WeakMap(); // masks from the server → canvases

  #seen = []; // the state from which the picture was painted

  constructor(photo, canvas, viewport, session, pointer) {
    Object.assign(this, { photo, canvas, viewport, session, pointer });
    this.pen = canvas.getContext("2d");
  }

  draw() {
    const { canvas, pen, viewport, session } = this;
    const frame = [viewport.x, viewport.y, viewport.width * viewport.scale, viewport.height * viewport.scale];
    const bitmap = session.facts && session.bitmap;
    this.#photo(bitmap, frame);
    clear(canvas, pen);
    if (!bitmap) return;
    session.boxes.forEach((box, at) => this.#box(box, at, frame));
    this.#suggestions();
    const draft = this.pointer.draft;
    if (draft && !draft.box) this.#outline(draft.corners, css(OPEN), 2, []);
  }

  #photo(bitmap, frame) {
    const { photo, viewport, session } = this;
    const seen = [bitmap, this.brightness, this.contrast, ...frame, photo.clientWidth, photo.clientHeight, devicePixelRatio];
    if (seen.every((value, at) => value === this.#seen[at])) return;
    this.#seen = seen;
    const pen = photo.getContext("2d");
    clear(photo, pen);
    if (!bitmap) return;
    pen.imageSmoothingEnabled = viewport.scale * (session.facts.width / bitmap.width) < 3;
    pen.imageSmoothingQuality = "high";
    if (this.brightness !== 100 || this.contrast !== 100) pen.filter = `brightness(${this.brightness}%) contrast(${this.contrast}%)`;
    pen.drawImage(bitmap, ...frame);
    pen.filter = "none";
  }

  #box(box, at, frame) {
    const { pen, session, pointer } = this;
    const state = session.state(box);
    const chosen = at === session.chosen;
    const moved = pointer.draft?.box === box ? pointer.draft.corners : null;
    const mask = moved ? null : state === "mask" ? (box.shown ?? box.live) : state === "proposed" ? box.live : null;
    if (mask && !this.hidden) {
      this.#mask(mask, COLOURS[state], frame);
    }
    const corners = moved ?? box.box;
    if (state === "box" && !this.hidden) this.#hatch(corners, css(KEPT));
    this.#outline(corners, css(COLOURS[state]), chosen ? 2.5 : 1.5, state === "waiting" ? [6, 4] : []);
    if (chosen) this.#grips(corners);
    this.#label(corners, `${at + 1}`, css(COLOURS[state]));
    if (chosen || this.pointer.tool !== "box") box.clicks.forEach((click) => this.#click(click));
  }

  #mask(mask, colour, [left, top, wide, tall]) {
    const { pen } = this;
    let made = this.#painted.get(mask);
    if (made?.colour !== colour) {
      made = { colour, ...paint(mask, colour) };
      this.#painted.set(mask, made);
    }
    if (!made.fill) return;
    const [down, across] = [tall / mask.size[0], wide / mask.size[1]];
    const { x, y, fill, edge } = made;
    const part = [left + x * across, top + y * down, fill.width * across, fill.height * down];
    pen.globalAlpha = this.opacity;
    pen.drawImage(fill, ...part);
    pen.globalAlpha = Math.min(1, this.opacity * 2);
    pen.drawImage(edge, ...part);
    pen.globalAlpha = 1;
  }

  #corner([x1, y1, x2, y2]) {
    const [left, top] = this.viewport.toScreen(x1, y1);
    const [right, bottom] = this.viewport.toScreen(x2, y2);
    return [left, top, right - left, bottom - top];
  }

  // a dark rim below keeps every colour visible on every picture
  #outline(corners, colour, width, dash) {
    const { pen } = this;
    const rectangle = this.#corner(corners);
    pen.setLineDash(dash);
    pen.strokeStyle = "rgb(0 0 0 / .55)";
    pen.lineWidth = width + 2;
    pen.strokeRect(...rectangle);
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.strokeRect(...rectangle);
    pen.setLineDash([]);
  }

  #hatch(corners, colour) {
    const { pen } = this;
    const [left, top, wide, tall] = this.#corner(corners);
    pen.save();
    pen.beginPath();
    pen.rect(left, top, wide, tall);
    pen.clip();
    pen.globalAlpha = Math.min(1, this.opacity * 1.4);
    pen.strokeStyle = colour;
    pen.lineWidth = 2;
    pen.beginPath();
    for (let at = -tall; at < wide; at += 9) {
      pen.moveTo(left + at, top + tall);
      pen.lineTo(left + at + tall, top);
    }
    pen.stroke();
    pen.restore();
  }

  #grips(corners) {
    const { pen } = this;
    for (const grip of grips(corners)) {
      const [x, y] = this.viewport.toScreen(...grip);
      pen.fillStyle = "#fff";
      pen.strokeStyle = "rgb(0 0 0 / .75)";
      pen.lineWidth = 1;
      pen.fillRect(x - 4, y - 4, 8, 8);
      pen.strokeRect(x - 4, y - 4, 8, 8);
    }
  }

  #label(corners, text, colour) {
    const { pen } = this;
    const [left, top] = this.#corner(corners);
    pen.font = "600 12px system-ui, sans-serif";
    const wide = pen.measureText(text).width + 10;
    pen.fillStyle = colour;
    pen.fillRect(left - 1, top - 19, wide, 18);
    pen.fillStyle = "#000";
    pen.fillText(text, left + 4, top - 5);
  }

  #click({ x, y, inside }) {
    const { pen } = this;
    const [across, down] = this.viewport.toScreen(x, y);
    pen.beginPath();
    pen.arc(across, down, 7, 0, 7);
    pen.fillStyle = inside ? "#12a150" : "#d92d20";
    pen.fill();
    pen.lineWidth = 2;
    pen.strokeStyle = "#fff";
    pen.stroke();
    pen.beginPath();
    pen.moveTo(across - 3.5, down);
    pen.lineTo(across + 3.5, down);
    if (inside) {
      pen.moveTo(across, down - 3.5);
      pen.lineTo(across, down + 3.5);
    }
    pen.stroke();
  }

  #suggestions() {
    this.session.suggestions.forEach((corners) => this.#outline(corners, SUGGESTED, 2, [9, 6]));
  }
}
