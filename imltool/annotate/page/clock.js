// Working time: while the page is visible and there was recent input. Reported picture by picture.

import { post } from "./shared/api.js";

const IDLE = 30_000; // milliseconds without input after which nobody is working

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

  // time that was not reported yet; kept for the next report if the server is unavailable
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
