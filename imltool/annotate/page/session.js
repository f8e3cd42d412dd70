// The open picture: its annotation, saved change by change, and the teacher's masks.
//
// A change is sent with the revision it started from. If the server has a newer one (another tab, another window), it
// refuses; the newer state is then shown, and `mine` keeps the refused one.

import { get, image, post, Refused } from "./shared/api.js";

const BUSY = 503; // another tab has opened another picture: ask again
const RETRY = 2000;
const PATIENCE = 8000;
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const patiently = (work) => Promise.race([work, pause(work ? PATIENCE : 0)]);
const prompted = ({ box, clicks }) => JSON.stringify([box, clicks]);
const said = ({ verdict, boxes }) => ({ verdict, boxes: boxes.map(({ box, clicks, accepted, origin, kind = null, comment = "" }) => ({ box, clicks, accepted, origin, kind, comment })) });
const same = (one, other) => JSON.stringify(said(one)) === JSON.stringify(said(other));

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
  noMasks = ""; // why the teacher cannot make masks for it
  mine = null;
  unsaved = "";
  #dirty = false;
  #saving = null;
  #stepping = Promise.resolve();
  #steps = 0; // undos and redos that the server has not answered yet
  #answers = new Map(); // the teacher's masks by prompt, so that undo shows them at once
  #opening = new AbortController(); // aborts requests for a picture that is closed
  #asking = null; // signal of the opening whose masks are being requested

  #emit(what = "change") {
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
    this.#opening.abort();
    this.#opening = new AbortController();
    const { signal } = this.#opening;
    this.index = index;
    this.bitmap?.close();
    this.facts = this.bitmap = this.mine = null;
    this.boxes = [];
    this.suggestions = [];
    this.verdict = null;
    this.chosen = -1;
    this.fault = this.noMasks = "";
    this.embedded = this.suggested = false;
    this.#answers.clear();
    this.#emit("opening");
    try {
      const facts = await get(`pictures/${index}`, signal);
      const bitmap = await image(index, signal);
      if (signal.aborted) return false; // another picture was opened meanwhile
      this.bitmap = bitmap;
      this.#adopt(facts);
    } catch (error) {
      if (signal.aborted) return false;
      if (!(error instanceof Refused)) {
        this.#emit("lost");
        return false;
      }
      this.fault = error.message;
    }
    this.#emit("opened");
    if (!this.fault) this.#await(index, signal);
    return true;
  }

  // ask until the picture is embedded; then its suggestions are known, too
  async #await(index, signal) {
    while (!signal.aborted) {
      try {
        const answer = await get(`pictures/${index}/embedded`, signal);
        if (signal.aborted) return;
        if (!answer.embedded) continue;
        this.embedded = true;
        this.suggestions = answer.suggestions;
        this.suggested ||= answer.suggestions.length > 0;
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof Refused) || error.status === BUSY) {
          await pause(RETRY);
          continue;
        }
        this.noMasks = error.message;
      }
      this.#emit();
      return;
    }
  }

  #adopt(facts) {
    this.facts = facts;
    this.verdict = facts.verdict;
    this.boxes = facts.boxes.map((box) => ({ ...box }));
    this.chosen = Math.min(this.chosen, this.boxes.length - 1);
    this.#note(facts);
    this.boxes.forEach((box) => this.#ask(box));
  }

  #note({ revision, can_undo, can_redo, progress }) {
    this.revision = revision;
    this.canUndo = can_undo;
    this.canRedo = can_redo;
    this.advance(progress);
  }

  // answers may arrive in another order than the server made them
  advance(progress) {
    if (!this.progress || progress.rows >= this.progress.rows) this.progress = progress;
  }

  // request the teacher's mask for a box; an accepted mask exists already
  #ask(box) {
    const prompt = prompted(box);
    if (box.prompt === prompt && (box.live || box.shown || box.waiting)) return;
    box.prompt = prompt;
    box.live = this.#answers.get(prompt) ?? null;
    box.error = "";
    box.waiting = !box.live && !box.shown;
    box.asked = performance.now();
    if (box.waiting) this.#askAll();
  }

  // one after the other, the last box first: concurrent requests take longer, and for a box moved by a held key only the
// last place counts
  async #askAll() {
    const { signal } = this.#opening;
    if (this.#asking === signal) return;
    this.#asking = signal;
    for (let box; (box = this.boxes.findLast(({ waiting }) => waiting)); ) {
      const { prompt, asked } = box;
      let found = null, failed = "";
      try {
        found = await post(`pictures/${this.index}/mask`, { box: box.box, clicks: box.clicks }, { signal });
        found.latency = performance.now() - asked;
      } catch (error) {
        if (error.status === BUSY) await pause(RETRY);
        else failed = error.message;
      }
      if (signal.aborted) return;
      if (!found && !failed) continue;
      if (found) this.#answers.set(prompt, found);
      // an undo may have replaced the boxes by new objects
      for (const one of this.boxes.filter(({ waiting, prompt: theirs }) => waiting && theirs === prompt)) {
        Object.assign(one, { live: found, error: failed, waiting: false });
      }
      this.#emit();
    }
    this.#asking = null;
    this.#emit("masked");
  }

  state(box) {
    if (box.accepted) return box.accepted;
    if (box.live) return "proposed";
    return box.error ? "failed" : "waiting";
  }

  // change the annotation; boxes with a changed prompt lose their accepted label
  change(alter) {
    if (!this.facts) return;
    alter();
    for (const box of this.boxes) {
      if (box.prompt && box.prompt !== prompted(box)) {
        box.accepted = null;
        box.shown = null;
      }
      this.#ask(box);
    }
    if (this.boxes.length && this.verdict !== "unsure" && this.verdict !== "skipped") this.verdict = "tampered";
    if (!this.boxes.length && this.verdict === "tampered") this.verdict = null;
    this.#dirty = true;
    this.#save();
    this.#emit();
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
      this.boxes.push({ box: corners, clicks: [], accepted: null, origin, kind: null, comment: "" });
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
    this.#emit();
  }

  // accept the teacher's mask or keep the box; the same choice again revokes it
  accept(choice, positions = [this.chosen]) {
    const able = positions.filter((at) => this.boxes[at] && (choice === "box" || this.boxes[at].live || this.boxes[at].shown));
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

  #save() {
    this.#saving ??= this.#saveAll().finally(() => {
      this.#saving = null;
      this.#emit();
    });
  }

  async #saveAll() {
    while (this.#dirty) {
      this.#dirty = false;
      const content = said(this);
      try {
        const body = { base: this.revision, content, suggested: this.suggested };
        this.#accepted(await post(`pictures/${this.index}/change`, body));
      } catch (error) {
        const facts = error.status === 422 ? await get(`pictures/${this.index}`).catch(() => null) : error.answer;
        if (error.status === 409 && same(facts, content)) this.#accepted(facts); // the first answer was lost
        else if (error.status === 409) this.#yield(facts, "conflict");
        else if (error.status === 422 && facts) this.#yield(facts, "refused", error.message);
        else {
          this.unsaved = error instanceof Refused ? error.message : "the server does not answer";
          this.#dirty = true;
          this.#emit();
          await pause(RETRY);
        }
      }
    }
  }

  #accepted(facts) {
    this.unsaved = "";
    this.#note(facts);
    this.#emit("saved");
    if (!this.#dirty) facts.boxes.forEach((box, at) => (this.boxes[at].shown = box.shown ?? null));
  }

  // show the server's state instead of a change that it refused
  #yield(facts, why, reason = "") {
    this.mine = why === "conflict" ? said(this) : null;
    this.refused = reason;
    this.unsaved = "";
    this.#dirty = false;
    this.#adopt(facts);
    this.#emit(why);
  }

  // restore the annotation that was refused because of another tab's change
  restore() {
    const mine = this.mine;
    this.mine = null;
    if (!mine) return;
    this.change(() => {
      this.boxes = mine.boxes.map((box) => ({ ...box }));
      this.verdict = mine.verdict;
    });
  }

  // an action applies to the state after undos that are still unanswered
  act(run) {
    return this.#steps ? this.#stepping.then(run) : run();
  }

  // true when everything is saved; false when the server has not answered for a while
  async settled() {
    await patiently(this.#steps ? this.#stepping : null);
    await patiently(this.#saving);
    return this.saved;
  }

  // one after the other: a step starts from the revision made by the one before
  step(direction) {
    this.#steps++;
    this.#stepping = this.#stepping
      .then(() => this.#step(direction))
      .finally(() => {
        this.#steps--;
        this.#emit();
      });
    this.#emit();
    return this.#stepping;
  }

  async #step(direction) {
    await patiently(this.#saving);
    if (!this.facts || !this.#written) return;
    const { signal } = this.#opening;
    let state = null;
    try {
      state = await post(`pictures/${this.index}/step`, { base: this.revision, direction });
    } catch (error) {
      if (error.status === 409) state = error.answer;
      else this.#emit("lost");
    }
    if (state && !signal.aborted) this.#adopt(state); // another picture may have been opened meanwhile
  }

  // another tab may have changed the picture while this one was hidden
  async refresh() {
    if (!this.facts || !this.saved) return;
    const { signal } = this.#opening;
    const facts = await get(`pictures/${this.index}`, signal).catch(() => null);
    if (facts && !signal.aborted && this.saved && facts.revision > this.revision) {
      this.#adopt(facts);
      this.#emit();
    }
  }
}
