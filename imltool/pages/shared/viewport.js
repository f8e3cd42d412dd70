// The position of the picture on the screen: one scale and one offset, in CSS pixels.

export class Viewport {
  // most: largest number of screen pixels per picture pixel
  constructor(stage, most = 40) {
    this.stage = stage;
    this.most = most;
    this.width = this.height = 1;
    this.scale = 1;
    this.x = this.y = 0;
    this.fitted = true;
  }

  show(width, height) {
    [this.width, this.height] = [width, height];
    this.fit();
  }

  fit() {
    const { clientWidth: wide, clientHeight: tall } = this.stage;
    this.scale = Math.min(wide / this.width, tall / this.height) * 0.97;
    this.x = (wide - this.width * this.scale) / 2;
    this.y = (tall - this.height * this.scale) / 2;
    this.fitted = true;
  }

  resized() {
    if (this.fitted) this.fit();
    else this.#hold();
  }

  zoom(factor, x = this.stage.clientWidth / 2, y = this.stage.clientHeight / 2) {
    const least = Math.min(this.stage.clientWidth / this.width, this.stage.clientHeight / this.height) * 0.5;
    const scale = Math.min(Math.max(this.scale * factor, Math.min(least, 1)), this.most);
    this.x = x - (x - this.x) * (scale / this.scale);
    this.y = y - (y - this.y) * (scale / this.scale);
    this.scale = scale;
    this.fitted = false;
    this.#hold();
  }

  // centre a part of the picture, as large as it fits with some margin
  reach([x1, y1, x2, y2]) {
    const { clientWidth: wide, clientHeight: tall } = this.stage;
    const room = 1.6;
    this.scale = Math.min(wide / ((x2 - x1) * room), tall / ((y2 - y1) * room), this.most);
    this.x = wide / 2 - ((x1 + x2) / 2) * this.scale;
    this.y = tall / 2 - ((y1 + y2) / 2) * this.scale;
    this.fitted = false;
    this.#hold();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
    this.#hold();
  }

  // part of the picture always stays visible
  #hold() {
    const margin = 60;
    this.x = Math.min(Math.max(this.x, margin - this.width * this.scale), this.stage.clientWidth - margin);
    this.y = Math.min(Math.max(this.y, margin - this.height * this.scale), this.stage.clientHeight - margin);
  }

  toPicture(x, y) {
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }

  toScreen(x, y) {
    return [x * this.scale + this.x, y * this.scale + this.y];
  }
}
