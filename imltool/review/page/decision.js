// The decision on the open picture, saved change by change.
//
// A change names the revision from which it started. When somebody else has decided in the meantime, the server refuses
// it; the newer decision is then shown, and `mine` keeps the refused one.

import { get, post, Refused } from "./shared/api.js";

const RETRY = 2000;
const TYPING = 700; // milliseconds after the last key
const PATIENCE = 6000;
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
export const EMPTY = { status: "open", conclusion: null, text: "", boxes: null };

export class Decision extends EventTarget {
  index = -1;
  opinion = { ...EMPTY };
  revision = 0;
  known = null; // the server's latest answer
  mine = null;
  other = "";
  unsaved = "";
  #dirty = false;
  #saving = null;
  #refused = false; // the server does not take the opinion as it is
  #timer = 0;

  #tell(what = "change") {
    this.dispatchEvent(new Event(what));
  }

  get saved() {
    return !this.#dirty && !this.#saving && !this.#refused && !this.#timer;
  }

  open(index, decided) {
    this.index = index;
    this.mine = null;
    this.unsaved = "";
    this.#refused = false;
    this.#adopt(decided);
  }

  #adopt(decided) {
    this.known = decided;
    this.revision = decided.revision;
    this.opinion = { ...decided.opinion };
    this.#tell();
    this.#tell("adopted");
  }

  change(part, typing = false) {
    if (this.index < 0) return;
    const changed = { ...this.opinion, ...part };
    if (same(changed, this.opinion)) return;
    this.opinion = changed;
    clearTimeout(this.#timer);
    this.#timer = typing ? setTimeout(() => this.flush(), TYPING) : 0;
    this.#dirty = true;
    if (!typing) this.flush();
    this.#tell();
  }

  flush() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (!this.#dirty) return;
    this.#saving ??= this.#save().finally(() => {
      this.#saving = null;
      this.#tell();
    });
  }

  async #save() {
    while (this.#dirty) {
      this.#dirty = this.#refused = false;
      const sent = { ...this.opinion };
      try {
        this.#accepted(await post(`pictures/${this.index}/decision`, { base: this.revision, opinion: sent }));
      } catch (error) {
        if (error.status === 409 && same(error.answer.opinion, sent)) this.#accepted(error.answer); // the first answer was lost
        else if (error.status === 409) {
          this.mine = { ...this.opinion }; // with what was written since
          this.other = error.answer.examiner;
          this.unsaved = "";
          clearTimeout(this.#timer);
          this.#timer = 0;
          this.#dirty = false;
          this.#adopt(error.answer);
          this.#tell("conflict");
        } else if (error.status === 422) {
          const found = await get(`pictures/${this.index}`).catch(() => null);
          this.unsaved = error.message;
          if (found) this.#keep(found.decision);
        } else {
          this.unsaved = error instanceof Refused ? error.message : "the server does not answer";
          this.#dirty = true;
          this.#tell();
          await pause(RETRY);
        }
      }
    }
  }

  #accepted(decided) {
    this.known = decided;
    this.revision = decided.revision;
    this.unsaved = "";
    this.#tell("saved");
  }

  // a refused opinion stays in the page, where it can be corrected (a text may be too long); refused boxes do not
  #keep(decided) {
    const { boxes } = decided.opinion;
    const others = !same(boxes, this.opinion.boxes);
    this.known = decided;
    this.revision = decided.revision;
    this.opinion = { ...this.opinion, boxes };
    this.#refused = !same(this.opinion, decided.opinion);
    this.#dirty ||= others && this.#refused;
    this.#tell();
    this.#tell("adopted");
  }

  // save the decision that was refused because of somebody else's
  restore() {
    const mine = this.mine;
    this.mine = null;
    if (mine) this.change(mine);
    this.#tell("adopted");
  }

  // true when everything is saved; false when the server did not answer for a while
  async settled() {
    this.flush();
    await Promise.race([this.#saving, pause(this.#saving ? PATIENCE : 0)]);
    return this.saved;
  }

  // somebody else may have decided in the meantime
  async refresh() {
    const { index } = this;
    if (index < 0 || !this.saved) return;
    const found = await get(`pictures/${index}`).catch(() => null);
    if (found && this.index === index && this.saved && found.decision.revision > this.revision) this.#adopt(found.decision);
  }
}
