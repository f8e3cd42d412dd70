// Seconds at work: while the page is in sight and a hand was moved lately. Reported picture by picture.

import { post } from "./shared/api.js";

const IDLE = 30_000; // without a key or a move for so long, nobody is at work

export class Clock {
  #index = -1;
  #seconds = 0;
  #last = performance.now();
  #active = performance.now();

  constructor() {
    for (const event of ["pointermove", "pointerdown", "keydown", "wheel"]) {
      addEventListener(event, () => { this.#tick(); this.#active = performance.now(); }, { passive: true, capture: true });
    }
    setInterval(() => this.#tick(), 500);
    document.addEventListener("visibilitychange", () => {
      this.#tick();
      if (document.visibilityState === "hidden") this.report();
      else this.#active = performance.now();
    });
    addEventListener("pagehide", () => this.report());
  }

  #tick() {
    const now = performance.now();
    if (document.visibilityState === "visible" && now - this.#active < IDLE) this.#seconds += (now - this.#last) / 1000;
    this.#last = now;
  }

  start(index) {
    this.#tick();
    this.#index = index;
    this.#seconds = 0;
    this.#active = performance.now();
  }

  // what was not reported yet; kept for the next time when the server is gone
  async report() {
    this.#tick();
    const [index, seconds] = [this.#index, Math.min(this.#seconds, 3600)];
    if (index < 0 || seconds < 0.05) return null;
    this.#seconds = 0;
    try {
      return await post(`pictures/${index}/time`, { seconds }, { keepalive: true });
    } catch {
      if (this.#index === index) this.#seconds += seconds;
      return null;
    }
  }
}
