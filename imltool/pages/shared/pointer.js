// Converts mouse, pen and touch events on the canvas into changes of the session.

const GRIPS = [[0, 0], [0.5, 0], [1, 0], [1, 0.5], [1, 1], [0.5, 1], [0, 1], [0, 0.5]];
const CURSORS = ["nwse-resize", "ns-resize", "nesw-resize", "ew-resize"];
const SMALLEST = 6; // smallest side of a dragged box, screen pixels

export const grips = ([x1, y1, x2, y2]) => GRIPS.map(([across, down]) => [x1 + (x2 - x1) * across, y1 + (y2 - y1) * down]);

export class Pointer {
  tool = "box"; // or "inside", "outside"
  panning = false; // a drag moves the picture
  draft = null; // while a box is drawn, moved or resized: its corners, and the box unless it is new
  #fingers = new Map();
  #drag = null;

  constructor(canvas, viewport, session, redraw) {
    Object.assign(this, { canvas, viewport, session, redraw });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.#cancel(event));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    session.addEventListener("opening", () => (this.#drag = this.draft = null)); // it belonged to the previous picture
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  #place(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  #wheel(event) {
    event.preventDefault();
    const step = event.deltaMode === 1 ? event.deltaY * 30 : event.deltaY;
    this.viewport.zoom(Math.exp(-step * (event.ctrlKey ? 0.01 : 0.002)), ...this.#place(event));
    this.redraw();
  }

  #down(event) {
    if (!this.session.facts) return;
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    const place = this.#place(event);
    this.#fingers.set(event.pointerId, place);
    if (this.#fingers.size === 2) {
      this.#drag = this.draft = null; // the first finger began a pinch, not a box
      this.#pinch = this.#spread();
      this.redraw();
      return;
    }
    if (this.#fingers.size > 2) return;
    if (event.button === 1 || this.panning) {
      this.#drag = { kind: "pan", start: place, last: place };
      return;
    }
    const inside = event.button !== 2 && !event.altKey && this.tool !== "outside";
    const click = event.button === 2 || event.shiftKey || event.altKey || this.tool !== "box";
    if (click) this.#drag = { kind: "click", start: place, inside };
    else if (event.button === 0) this.#drag = this.#grab(place, event.pointerType === "touch" ? 24 : 9);
  }

  // what a drag that starts here will do
  #grab(place, reach) {
    const { session, viewport } = this;
    const chosen = session.boxes[session.chosen];
    if (chosen) {
      const near = grips(chosen.box).map((grip) => {
        const [x, y] = viewport.toScreen(...grip);
        return Math.max(Math.abs(x - place[0]), Math.abs(y - place[1]));
      });
      const grip = near.indexOf(Math.min(...near));
      if (near[grip] <= reach) return { kind: "resize", start: place, grip, box: chosen, from: chosen.box };
      if (within(chosen.box, viewport.toPicture(...place))) return { kind: "move", start: place, box: chosen, from: chosen.box };
    }
    return { kind: "draw", start: place };
  }

  #pinch = null;

  #spread() {
    const [[x1, y1], [x2, y2]] = [...this.#fingers.values()];
    return { x: (x1 + x2) / 2, y: (y1 + y2) / 2, length: Math.hypot(x2 - x1, y2 - y1) };
  }

  #move(event) {
    const place = this.#place(event);
    if (this.#fingers.has(event.pointerId)) this.#fingers.set(event.pointerId, place);
    if (this.#fingers.size >= 2) {
      const now = this.#spread();
      this.viewport.pan(now.x - this.#pinch.x, now.y - this.#pinch.y);
      this.viewport.zoom(now.length / Math.max(this.#pinch.length, 1), now.x, now.y);
      this.#pinch = now;
      this.redraw();
      return;
    }
    const drag = this.#drag;
    if (!drag) {
      this.#point(place);
      return;
    }
    if (drag.kind === "pan") {
      drag.moved ||= Math.hypot(place[0] - drag.start[0], place[1] - drag.start[1]) >= SMALLEST / 2;
      this.viewport.pan(place[0] - drag.last[0], place[1] - drag.last[1]);
      drag.last = place;
    } else if (drag.kind !== "click") {
      drag.moved ||= Math.hypot(place[0] - drag.start[0], place[1] - drag.start[1]) >= SMALLEST / 2;
      if (drag.moved) this.draft = { corners: this.#corners(drag, place), box: drag.box };
    }
    this.redraw();
  }

  #corners(drag, place) {
    const { width, height } = this.session.facts;
    const [x, y] = this.viewport.toPicture(...place);
    const [fromX, fromY] = this.viewport.toPicture(...drag.start);
    if (drag.kind === "draw") return bounded([fromX, fromY, x, y], width, height);
    const [x1, y1, x2, y2] = drag.from;
    if (drag.kind === "move") return shifted(drag.from, x - fromX, y - fromY, width, height);
    const [across, down] = GRIPS[drag.grip];
    const [dx, dy] = [x - fromX, y - fromY];
    const corners = [across === 0 ? x1 + dx : x1, down === 0 ? y1 + dy : y1, across === 1 ? x2 + dx : x2, down === 1 ? y2 + dy : y2];
    return bounded(corners, width, height);
  }

  #up(event) {
    const place = this.#place(event);
    const lone = this.#fingers.size === 1;
    this.#fingers.delete(event.pointerId);
    const drag = this.#drag;
    this.#drag = null;
    const draft = this.draft;
    this.draft = null;
    if (!drag || !lone) return this.redraw();
    this.session.act(() => {
      if (drag.kind === "click") this.#click(place, drag.inside);
      else if (drag.kind !== "pan") {
        if (draft && this.#large(draft.corners)) this.#commit(draft);
        else if (!drag.moved) this.#select(place);
      } else if (!drag.moved) this.session.dispatchEvent(new CustomEvent("tap", { detail: this.viewport.toPicture(...place) }));
    });
    this.redraw();
  }

  #cancel(event) {
    this.#fingers.delete(event.pointerId);
    this.#drag = this.draft = null;
    this.redraw();
  }

  #large([x1, y1, x2, y2]) {
    return (x2 - x1) * this.viewport.scale >= SMALLEST && (y2 - y1) * this.viewport.scale >= SMALLEST && x2 - x1 >= 1 && y2 - y1 >= 1;
  }

  #commit({ corners, box }) {
    const { session } = this;
    if (!box) session.add(corners);
    else if (session.boxes.includes(box)) session.change(() => (box.box = corners));
  }

  // select the smallest box under a click, or none
  #select(place) {
    const spot = this.viewport.toPicture(...place);
    const hits = this.session.boxes.map(({ box }, at) => [at, (box[2] - box[0]) * (box[3] - box[1]), within(box, spot)]);
    const smallest = hits.filter(([, , hit]) => hit).sort((a, b) => a[1] - b[1])[0];
    this.session.choose(smallest ? smallest[0] : -1);
  }

  #click(place, inside) {
    const { session, viewport } = this;
    const { width, height } = session.facts;
    const [x, y] = viewport.toPicture(...place);
    if (x < 0 || y < 0 || x > width || y > height) return;
    if (session.chosen < 0 && session.boxes.length === 1) session.chosen = 0;
    const box = session.boxes[session.chosen];
    if (!box) return this.session.dispatchEvent(new Event("boxless"));
    const near = box.clicks.findIndex((click) => Math.hypot(click.x - x, click.y - y) * viewport.scale < 9);
    session.change(() => {
      box.clicks = near >= 0 ? box.clicks.filter((_, at) => at !== near) : [...box.clicks, { x: round(x), y: round(y), inside }];
    });
  }

  #point(place) {
    if (!this.session.facts) return;
    const drag = this.tool === "box" && !this.panning ? this.#grab(place, 9) : null;
    this.canvas.style.cursor = this.panning ? "grab" : drag?.kind === "resize" ? CURSORS[drag.grip % 4] : drag?.kind === "move" ? "move" : "crosshair";
  }
}

const round = (value) => Math.round(value * 100) / 100;

export function within([x1, y1, x2, y2], [x, y]) {
  return x >= x1 && x <= x2 && y >= y1 && y <= y2;
}

export function bounded([ax, ay, bx, by], width, height) {
  const clip = (value, most) => round(Math.min(Math.max(value, 0), most));
  return [clip(Math.min(ax, bx), width), clip(Math.min(ay, by), height), clip(Math.max(ax, bx), width), clip(Math.max(ay, by), height)];
}

export function shifted([x1, y1, x2, y2], dx, dy, width, height) {
  dx = Math.min(Math.max(dx, -x1), width - x2);
  dy = Math.min(Math.max(dy, -y1), height - y2);
  return [x1 + dx, y1 + dy, x2 + dx, y2 + dy].map(round);
}
