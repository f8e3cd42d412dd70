// What is seen: the picture, masks, boxes, clicks and suggestions.

import { paint } from "./masks.js";
import { grips } from "./pointer.js";

const OPEN = [255, 150, 0], DONE = [0, 170, 145], KEPT = [40, 130, 230], SUGGESTED = "#b06ef0";
const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;
const COLOURS = { proposed: OPEN, waiting: OPEN, failed: OPEN, mask: DONE, box: KEPT };

export class Drawing {
  opacity = 0.45;
  hidden = false;
  #painted = new WeakMap(); // masks as the server sent them → canvases

  constructor(canvas, viewport, session, pointer) {
    Object.assign(this, { canvas, viewport, session, pointer, pen: canvas.getContext("2d") });
  }

  draw() {
    const { canvas, pen, viewport, session } = this;
    const dense = devicePixelRatio || 1;
    const [wide, tall] = [Math.round(canvas.clientWidth * dense), Math.round(canvas.clientHeight * dense)];
    if (canvas.width !== wide || canvas.height !== tall) Object.assign(canvas, { width: wide, height: tall });
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    if (!session.bitmap || !session.facts) return;
    const frame = [viewport.x, viewport.y, viewport.width * viewport.scale, viewport.height * viewport.scale];
    pen.imageSmoothingEnabled = viewport.scale * (session.facts.width / session.bitmap.width) < 3;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(session.bitmap, ...frame);
    pen.imageSmoothingEnabled = true;
    session.boxes.forEach((box, at) => this.#box(box, at, frame));
    this.#suggestions();
    const draft = this.pointer.draft;
    if (draft && !draft.box) this.#outline(draft.corners, css(OPEN), 2, []);
  }

  #box(box, at, frame) {
    const { pen, session, pointer } = this;
    const state = session.state(box);
    const chosen = at === session.chosen;
    const moved = pointer.draft?.box === box ? pointer.draft.corners : null;
    const mask = moved ? null : state === "mask" ? (box.shown ?? box.live) : state === "proposed" ? box.live : null;
    if (mask && !this.hidden) {
      const { fill, edge } = this.#canvases(mask, COLOURS[state]);
      pen.globalAlpha = this.opacity;
      pen.drawImage(fill, ...frame);
      pen.globalAlpha = Math.min(1, this.opacity * 2);
      pen.drawImage(edge, ...frame);
      pen.globalAlpha = 1;
    }
    const corners = moved ?? box.box;
    if (state === "box" && !this.hidden) this.#hatch(corners, css(KEPT));
    this.#outline(corners, css(COLOURS[state]), chosen ? 2.5 : 1.5, state === "waiting" ? [6, 4] : []);
    if (chosen) this.#grips(corners);
    this.#label(corners, `${at + 1}`, css(COLOURS[state]));
    if (chosen || this.pointer.tool !== "box") box.clicks.forEach((click) => this.#click(click));
  }

  #canvases(mask, colour) {
    let made = this.#painted.get(mask);
    if (made?.colour !== colour) {
      made = { colour, ...paint(mask, colour) };
      this.#painted.set(mask, made);
    }
    return made;
  }

  #corner([x1, y1, x2, y2]) {
    const [left, top] = this.viewport.toScreen(x1, y1);
    const [right, bottom] = this.viewport.toScreen(x2, y2);
    return [left, top, right - left, bottom - top];
  }

  // a dark rim below keeps every colour legible on every picture
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
