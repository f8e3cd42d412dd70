// The magnifier: a square of the picture's pixels, unchanged, with auto-contrast, or with equalized histogram.

export const WAYS = { plain: "unchanged", stretch: "auto-contrast", equal: "equalized histogram" };
const TIMES = 4; // screen pixels per picture pixel

export class Lens {
  way = "plain";

  constructor(figure) {
    this.figure = figure;
    [this.canvas, this.caption] = figure.children;
    this.pen = this.canvas.getContext("2d");
  }

  turn() {
    const names = Object.keys(WAYS);
    this.way = names[(names.indexOf(this.way) + 1) % names.length];
  }

  // draw the layer's pixels around a place; `beside` is the pointer on the stage, which the lens must not cover
  draw(layer, [x, y], beside, stage) {
    const side = Math.floor(this.canvas.width / TIMES);
    const [left, top] = [Math.round(x - side / 2), Math.round(y - side / 2)];
    const pixels = layer.pixels(left, top, side);
    this.caption.textContent = `${Math.floor(x)}, ${Math.floor(y)} · ${TIMES}× · ${WAYS[this.way]}`;
    const right = beside[0] < stage.clientWidth / 2;
    const below = beside[1] < stage.clientHeight / 2;
    this.figure.dataset.corner = `${below ? "bottom" : "top"}-${right ? "right" : "left"}`;
    this.figure.dataset.ready = String(Boolean(pixels));
    if (!pixels) return;
    if (this.way !== "plain") spread(pixels, this.way);
    const small = new OffscreenCanvas(side, side);
    small.getContext("2d").putImageData(pixels, 0, 0);
    this.pen.imageSmoothingEnabled = false;
    this.pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.pen.drawImage(small, 0, 0, side * TIMES, side * TIMES);
    this.pen.strokeStyle = "#fff";
    this.pen.globalCompositeOperation = "difference";
    this.pen.strokeRect(this.canvas.width / 2 - TIMES, this.canvas.height / 2 - TIMES, 2 * TIMES, 2 * TIMES);
    this.pen.globalCompositeOperation = "source-over";
  }
}

// each channel separately; pixels outside the picture are ignored
export function spread({ data }, way) {
  for (let channel = 0; channel < 3; channel++) {
    const counts = new Uint32Array(256);
    let total = 0;
    for (let at = 0; at < data.length; at += 4) {
      if (!data[at + 3]) continue;
      counts[data[at + channel]]++;
      total++;
    }
    if (!total) continue;
    const table = new Uint8ClampedArray(256);
    let below = 0;
    let [low, high] = [-1, 255];
    for (let value = 0; value < 256; value++) {
      below += counts[value];
      table[value] = Math.round((255 * (below - counts[value] / 2)) / total);
      if (low < 0 && below > total * 0.01) low = value;
      if (below <= total * 0.99) high = Math.min(255, value + 1);
    }
    if (way === "stretch") for (let value = 0; value < 256; value++) table[value] = (255 * (value - low)) / Math.max(1, high - low);
    for (let at = 0; at < data.length; at += 4) data[at + channel] = table[data[at + channel]];
  }
}
