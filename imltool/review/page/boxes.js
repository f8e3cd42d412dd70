// Boxes that the examiner draws, in the form that the shared pointer edits.

export class Boxes extends EventTarget {
  facts = null; // width and height of the picture; null while no box can be drawn
  boxes = [];
  chosen = -1;
  pointers = [];
  kept = false; // whether the examiner has decided about boxes: an empty list then means that there are none

  open(facts, corners) {
    this.facts = facts;
    this.dispatchEvent(new Event("opening"));
    this.adopt(corners);
  }

  adopt(corners) {
    this.kept = corners !== null;
    this.boxes = (corners ?? []).map((box) => ({ box, clicks: [] }));
    this.chosen = Math.min(this.chosen, this.boxes.length - 1);
    this.dispatchEvent(new Event("change"));
  }

  // the boxes to save: null when the examiner has not decided about boxes
  get said() {
    return this.kept ? this.boxes.map(({ box }) => box) : null;
  }

  get draft() {
    const draft = this.pointers.map((pointer) => pointer.draft).find(Boolean);
    return draft && !draft.box ? draft.corners : null;
  }

  moved(box) {
    const draft = this.pointers.map((pointer) => pointer.draft).find((one) => one?.box === box);
    return draft ? draft.corners : box.box;
  }

  change(alter) {
    alter();
    this.kept = true;
    this.dispatchEvent(new Event("change"));
    this.dispatchEvent(new Event("edited"));
  }

  add(corners) {
    this.change(() => {
      this.boxes.push({ box: corners, clicks: [] });
      this.chosen = this.boxes.length - 1;
    });
  }

  remove() {
    if (this.chosen < 0) return;
    this.change(() => {
      this.boxes.splice(this.chosen, 1);
      this.chosen = Math.min(this.chosen, this.boxes.length - 1);
    });
  }

  take(corners) {
    this.change(() => {
      this.boxes = corners.map((box) => ({ box, clicks: [] }));
      this.chosen = -1;
    });
  }

  forget() {
    this.boxes = [];
    this.chosen = -1;
    this.kept = false;
    this.dispatchEvent(new Event("change"));
    this.dispatchEvent(new Event("edited"));
  }

  choose(position) {
    this.chosen = position;
    this.dispatchEvent(new Event("change"));
  }

  act(run) {
    return run();
  }
}
