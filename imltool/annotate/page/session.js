// The open picture: what is said about it, saved change by change, and the masks the teacher answers.
//
// A change names the revision it started from. When the server knows a newer one (another tab, another window), it
// refuses; the newer state is then shown, and `mine` keeps what was refused.

import { get, image, post, Refused } from "./api.js";

const RETRY = 2000;
const PATIENCE = 8000;
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const patiently = (work) => Promise.race([work, pause(work ? PATIENCE : 0)]);

export class Session extends EventTarget {
  index = -1;
  facts = null; // name, width, height, …
  bitmap = null;
  boxes = [];
  verdict = null;
  chosen = -1;
  revision = 0;
  canUndo = false;
  canRedo = false;
  suggestions = [];
  suggested = false;
  progress = null;
  fault = ""; // why the picture cannot be shown
  embedded = false;
  noMasks = ""; // why the teacher makes none for it
  mine = null;
  unsaved = "";
  #dirty = false;
  #saving = null;
  #stepping = Promise.resolve();
  #steps = 0; // undos and redos that the server has not answered yet
  #answers = new Map(); // the teacher's masks by prompt, so that undo shows them at once

  #tell(what = "change") {
    this.dispatchEvent(new Event(what));
  }

  get saved() {
    return this.#written && !this.#steps;
  }

  get #written() {
    return !this.#dirty && !this.#saving;
  }

  async open(index) {
    if (!(await this.settled())) return false;
    this.index = index;
    this.facts = this.bitmap = this.mine = null;
    this.boxes = [];
    this.suggestions = [];
    this.verdict = null;
    this.chosen = -1;
    this.fault = this.noMasks = "";
    this.embedded = this.suggested = false;
    this.#answers.clear();
    this.#tell("opening");
    try {
      const facts = await get(`pictures/${index}`);
      const bitmap = await image(index);
      if (this.index !== index) return false; // the person has moved on
      this.bitmap = bitmap;
      this.#adopt(facts);
    } catch (error) {
      if (this.index !== index) return false;
      if (!(error instanceof Refused)) {
        this.#tell("lost");
        return false;
      }
      this.fault = error.message;
    }
    this.#tell("opened");
    if (!this.fault) this.#await(index);
    return true;
  }

  // ask until the picture is embedded; then its suggestions are known too
  async #await(index) {
    while (this.index === index) {
      try {
        const answer = await get(`pictures/${index}/embedded`);
        if (this.index !== index) return;
        if (!answer.embedded) continue;
        this.embedded = true;
        this.suggestions = answer.suggestions;
        this.suggested ||= answer.suggestions.length > 0;
      } catch (error) {
        if (!(error instanceof Refused)) {
          await pause(RETRY);
          continue;
        }
        this.noMasks = error.message;
      }
      this.#tell();
      return;
    }
  }

  #adopt(facts) {
    this.facts = facts;
    this.verdict = facts.verdict;
    this.boxes = facts.boxes.map((box) => ({ ...box }));
    this.chosen = Math.min(this.chosen, this.boxes.length - 1);
    this.#note(facts);
    this.boxes.forEach((box) => this.ask(box));
  }

  #note({ revision, can_undo, can_redo, progress }) {
    this.revision = revision;
    this.canUndo = can_undo;
    this.canRedo = can_redo;
    this.progress = progress;
  }

  // the teacher's mask for a box, once it stands still
  async ask(box) {
    const prompt = JSON.stringify([box.box, box.clicks]);
    if (box.prompt === prompt && (box.live || box.waiting)) return;
    box.prompt = prompt;
    box.live = this.#answers.get(prompt) ?? null;
    box.error = "";
    box.waiting = !box.live;
    if (box.live) return;
    const index = this.index;
    try {
      const begun = performance.now();
      const answer = await post(`pictures/${index}/mask`, { box: box.box, clicks: box.clicks });
      if (this.index !== index) return;
      answer.latency = performance.now() - begun;
      this.#answers.set(prompt, answer);
      if (box.prompt === prompt) box.live = answer;
    } catch (error) {
      if (box.prompt === prompt) box.error = error.message;
    }
    if (box.prompt === prompt) box.waiting = false;
    this.#tell();
  }

  state(box) {
    if (box.accepted) return box.accepted;
    if (box.live) return "proposed";
    return box.error ? "failed" : "waiting";
  }

  // change what is said; boxes whose prompt changed lose what was accepted before
  change(alter) {
    if (!this.facts) return;
    alter();
    for (const box of this.boxes) {
      const prompt = JSON.stringify([box.box, box.clicks]);
      if (box.prompt && box.prompt !== prompt) {
        box.accepted = null;
        box.shown = null;
      }
      this.ask(box);
    }
    if (this.boxes.length && this.verdict !== "unsure" && this.verdict !== "skipped") this.verdict = "tampered";
    if (!this.boxes.length && this.verdict === "tampered") this.verdict = null;
    this.#dirty = true;
    this.#save();
    this.#tell();
  }

  judge(verdict) {
    this.change(() => {
      this.verdict = this.verdict === verdict ? null : verdict;
      if (this.verdict === "authentic") {
        this.boxes = [];
        this.chosen = -1;
      }
    });
  }

  add(corners, origin = "drawn") {
    this.change(() => {
      this.boxes.push({ box: corners, clicks: [], accepted: null, origin });
      this.chosen = this.boxes.length - 1;
      if (this.verdict !== "tampered") this.verdict = null;
    });
  }

  remove(position) {
    this.change(() => {
      this.boxes.splice(position, 1);
      this.chosen = Math.min(position, this.boxes.length - 1);
    });
  }

  choose(position) {
    this.chosen = position;
    this.#tell();
  }

  // accept the teacher's mask or keep the box; once more takes it back
  accept(choice, positions = [this.chosen]) {
    const able = positions.filter((at) => this.boxes[at] && (choice === "box" || this.boxes[at].live));
    if (!able.length) return false;
    this.change(() => {
      for (const at of able) {
        const box = this.boxes[at];
        box.accepted = box.accepted === choice && positions.length === 1 ? null : choice;
        if (box.accepted !== "mask") box.shown = null;
      }
    });
    return true;
  }

  #content() {
    const boxes = this.boxes.map(({ box, clicks, accepted, origin }) => ({ box, clicks, accepted, origin }));
    return { verdict: this.verdict, boxes };
  }

  #save() {
    this.#saving ??= this.#saveAll().finally(() => {
      this.#saving = null;
      this.#tell();
    });
  }

  async #saveAll() {
    while (this.#dirty) {
      this.#dirty = false;
      const content = this.#content();
      try {
        const body = { base: this.revision, content, suggested: this.suggested };
        const answer = await post(`pictures/${this.index}/change`, body);
        this.unsaved = "";
        this.#note(answer);
        this.#tell("saved");
        if (!this.#dirty) answer.boxes.forEach((box, at) => (this.boxes[at].shown = box.shown ?? null));
      } catch (error) {
        if (error.status === 409) {
          this.#yield(error.answer, content);
        } else if (error.status === 422) {
          this.#adopt(await get(`pictures/${this.index}`));
          this.unsaved = "";
          this.refused = error.message;
          this.#tell("refused");
        } else {
          this.unsaved = error instanceof Refused ? error.message : "the server does not answer";
          this.#dirty = true;
          this.#tell();
          await pause(RETRY);
        }
      }
    }
  }

  #yield(newer, content) {
    this.#dirty = false;
    this.mine = content;
    this.#adopt(newer);
    this.#tell("conflict");
  }

  // put back what another tab's change has refused
  restore() {
    const mine = this.mine;
    this.mine = null;
    if (!mine) return;
    this.change(() => {
      this.boxes = mine.boxes.map((box) => ({ ...box }));
      this.verdict = mine.verdict;
    });
  }

  // true when all is saved; false when the server did not answer for a while
  async settled() {
    await patiently(this.#steps ? this.#stepping : null);
    await patiently(this.#saving);
    return this.saved;
  }

  // one after the other: a step starts from the revision that the one before it has made
  step(direction) {
    this.#steps++;
    this.#stepping = this.#stepping
      .then(() => this.#step(direction))
      .finally(() => {
        this.#steps--;
        this.#tell();
      });
    this.#tell();
    return this.#stepping;
  }

  async #step(direction) {
    await patiently(this.#saving);
    if (!this.facts || !this.#written) return;
    const index = this.index;
    let state = null;
    try {
      state = await post(`pictures/${index}/step`, { base: this.revision, direction });
    } catch (error) {
      if (error.status === 409) state = error.answer;
      else this.#tell("lost");
    }
    if (state && this.index === index) this.#adopt(state); // the person may have moved on
  }

  // another tab may have changed the picture while this one was out of sight
  async refresh() {
    if (!this.facts || !this.saved) return;
    const index = this.index;
    const facts = await get(`pictures/${index}`).catch(() => null);
    if (facts && this.index === index && this.saved && facts.revision !== this.revision) {
      this.#adopt(facts);
      this.#tell();
    }
  }
}
