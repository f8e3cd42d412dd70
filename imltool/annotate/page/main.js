// The page: buttons, keys and notices around the session of the open picture.

import { get } from "./shared/api.js";
import { Clock } from "./clock.js";
import { Drawing } from "./drawing.js";
import { Keys } from "./shared/keys.js";
import { Pointer, shifted, bounded } from "./shared/pointer.js";
import { Session } from "./session.js";
import { Viewport } from "./shared/viewport.js";

const by = (id) => document.getElementById(id);
const session = new Session();
const clock = new Clock();
const canvas = by("canvas");
const viewport = new Viewport(by("stage"));
const pointer = new Pointer(canvas, viewport, session, () => redraw());
const drawing = new Drawing(by("photo"), canvas, viewport, session, pointer);
let folder = null;
let waiting = false;

function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    drawing.draw();
  });
}

// notices

function notice(text, action = "", run = null) {
  const [words, button] = by("message").children;
  words.textContent = text;
  button.textContent = action;
  button.hidden = !action;
  button.onclick = () => { by("message").hidden = true; run(); };
  by("message").hidden = !text;
  clearTimeout(notice.timer);
  if (text && !action) notice.timer = setTimeout(() => (by("message").hidden = true), 6000);
}

// state of the controls

const WORDS = { waiting: "mask is coming", proposed: "mask", mask: "mask accepted", box: "box kept", failed: "no mask" };

function hint() {
  if (session.fault) return session.fault;
  if (!session.facts) return "opening the picture …";
  if (session.noMasks) return `no masks: ${session.noMasks}`;
  if (pointer.tool !== "box") return session.chosen < 0 && session.boxes.length !== 1 ? "choose a box first" : `click what ${pointer.tool === "inside" ? "belongs to" : "does not belong to"} the edit; V draws boxes again`;
  if (session.suggestions.length) return "dashed: suggested by the student; G accepts it";
  if (!session.embedded && session.boxes.length) return "the teacher is embedding the picture …";
  return session.boxes.length || session.verdict ? "" : "drag a box around what was edited";
}

function show() {
  const { facts, boxes, chosen, verdict } = session;
  const entry = folder.pictures[session.index];
  by("name").textContent = entry.name;
  by("facts").textContent = `${session.index + 1} / ${folder.pictures.length}${facts ? ` · ${facts.width}×${facts.height}` : ""}`;
  document.title = `${entry.name} – imltool annotate`;
  if (session.progress) {
    const { done, median_seconds: median } = session.progress;
    by("bar").value = done / folder.pictures.length;
    by("progress").textContent = `${done} of ${folder.pictures.length}`;
    by("median").textContent = median === null ? "–" : median.toFixed(1);
  }
  if (facts) Object.assign(entry, { verdict, boxes: boxes.length });
  by("hint").textContent = hint();
  by("about").hidden = !boxes[chosen] || !facts;
  if (boxes[chosen]) {
    by("kind").value = boxes[chosen].kind ?? "";
    if (document.activeElement !== by("comment")) by("comment").value = boxes[chosen].comment ?? "";
  }
  by("stage").ariaBusy = String(!session.fault && !session.noMasks && !session.embedded);
  by("boxes").replaceChildren(...boxes.map(boxButton));
  const box = boxes[chosen];
  by("undo").disabled = !session.canUndo || !facts;
  by("redo").disabled = !session.canRedo || !facts;
  by("accept").disabled = !box?.live && !box?.shown;
  by("keep").disabled = by("delete").disabled = !box;
  by("accept").ariaPressed = String(box?.accepted === "mask");
  by("keep").ariaPressed = String(box?.accepted === "box");
  for (const name of ["authentic", "unsure", "skipped"]) {
    by(name).ariaPressed = String(verdict === name);
    by(name).disabled = !facts;
  }
  by("done").disabled = !facts;
  by("done").textContent = boxes.some((one) => session.state(one) === "proposed") ? "Accept, next" : "Next to judge";
  by("previous").disabled = session.index === 0;
  by("next").disabled = session.index === folder.pictures.length - 1;
  for (const name of ["box", "inside", "outside"]) by(`tool-${name}`).ariaChecked = String(pointer.tool === name);
  const trouble = session.unsaved || session.progress?.fault;
  by("status").title = trouble ?? "";
  by("status").textContent = trouble ? `not saved: ${trouble}` : session.saved ? "saved" : "saving …";
  by("status").className = trouble ? "bad" : "muted";
  redraw();
}

function boxButton(box, at) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.dataset.state = session.state(box);
  button.ariaPressed = String(at === session.chosen);
  button.title = box.error || (box.live ? `the teacher's own estimate of the mask: ${box.live.predicted_iou}` : "");
  if (box.live?.latency) button.dataset.latency = Math.round(box.live.latency);
  button.append(document.createElement("i"), `${at + 1} ${WORDS[session.state(box)]}`);
  button.onclick = () => { session.choose(at); canvas.focus(); };
  item.append(button);
  return item;
}

// moving between pictures

async function open(index) {
  if (index < 0 || index >= folder.pictures.length) return;
  clock.report();
  if (!(await session.settled())) return notice("this picture is not saved yet: the page stays on it");
  notice("");
  clock.start(index);
  await session.open(index);
}

// after the masks have arrived, because the server should make them first
async function reportTime() {
  if (session.boxes.some((box) => box.waiting)) return;
  const progress = await clock.report();
  if (!progress) return;
  session.advance(progress);
  show();
}

function nextOpen(from) {
  const order = [...folder.pictures.keys()].slice(from + 1).concat([...folder.pictures.keys()].slice(0, from));
  const open = order.filter((at) => !folder.pictures[at].fault);
  // skipped pictures are shown again after all others
  return open.find((at) => !folder.pictures[at].verdict) ?? open.find((at) => folder.pictures[at].verdict === "skipped") ?? -1;
}

async function goOn() {
  if (!(await session.settled())) return notice("this picture is not saved yet: the page stays on it");
  const index = nextOpen(session.index);
  if (index >= 0) return open(index);
  await reportTime();
  notice("every picture is judged; the boxes are saved");
}

async function done() {
  if (!session.facts) return;
  const { boxes } = session;
  if (!boxes.length && !session.verdict) return notice("draw a box, or press A when nothing is edited");
  const open = [...boxes.keys()].filter((at) => session.state(boxes[at]) === "proposed");
  const blind = boxes.some((box) => session.state(box) === "waiting");
  if (!session.accept("mask", open) && boxes.length && session.verdict === null) session.change(() => {});
  await goOn();
  if (blind) notice("the mask was not ready yet: the box is saved, imltool pseudo will make its mask");
}

async function judge(verdict) {
  if (!session.facts) return;
  const again = session.verdict === verdict;
  session.judge(verdict);
  if (!again) await goOn();
}

// actions of buttons and keys

const turn = (by, { repeat }) => (repeat && !session.facts && !session.fault) || open(session.index + by); // while held: as fast as pictures open
const tool = (name) => { pointer.tool = name; show(); };
const zoom = (factor) => { viewport.zoom(factor); redraw(); };
const pan = (x, y) => { viewport.pan(x, y); redraw(); };
const fit = () => { viewport.fit(); redraw(); };
const opacity = (value) => {
  by("opacity").value = value;
  drawing.opacity = Math.min(Math.max(value, 0), 100) / 100;
  redraw();
};
const light = (name, value) => {
  by(name).value = value;
  drawing[name] = value;
  redraw();
};
const openLight = (on = by("light").hidden) => {
  by("light").hidden = !on;
  by("open-light").ariaExpanded = String(on);
  if (on) by("opacity").focus();
};
const about = (field, value) => {
  const box = session.boxes[session.chosen];
  if (box && box[field] !== value) session.change(() => (box[field] = value));
};
const accept = (choice) => session.accept(choice) || notice(session.chosen < 0 ? "choose a box first" : "the mask is not ready yet");
const remove = () => session.chosen >= 0 && session.remove(session.chosen);
const nudge = (dx, dy, whole) => {
  const box = session.boxes[session.chosen];
  if (!box) return;
  const { width, height } = session.facts;
  const step = Math.max(1, 4 / viewport.scale);
  const [x1, y1, x2, y2] = box.box;
  const corners = whole ? shifted(box.box, dx * step, dy * step, width, height) : bounded([x1, y1, Math.max(x1 + 1, x2 + dx * step), Math.max(y1 + 1, y2 + dy * step)], width, height);
  session.change(() => (box.box = corners));
};
const centre = () => {
  if (!session.facts) return;
  const { width, height } = session.facts;
  const [x, y] = viewport.toPicture(canvas.clientWidth / 2, canvas.clientHeight / 2);
  const [wide, tall] = [Math.min(width, canvas.clientWidth / viewport.scale) / 6, Math.min(height, canvas.clientHeight / viewport.scale) / 6];
  session.add(bounded([x - wide, y - tall, x + wide, y + tall], width, height));
};
const suggestion = () => {
  const [first, ...rest] = session.suggestions;
  if (!first) return notice(folder.suggestions ? "no suggestion is left" : "start with --suggest to see suggestions");
  session.suggestions = rest;
  session.add(first, "suggested");
};

const keys = new Keys()
  .add(["Enter"], "accept the masks shown, next picture to judge", done)
  .add(["ArrowRight", "PageDown"], "next picture", (event) => turn(1, event))
  .add(["ArrowLeft", "PageUp"], "previous picture", (event) => turn(-1, event))
  .add(["a"], "authentic, next", () => judge("authentic"))
  .add(["u"], "unsure, next", () => judge("unsure"))
  .add(["s"], "skip, next", () => judge("skipped"))
  .add(["m"], "accept the mask of the chosen box", () => accept("mask"))
  .add(["k"], "keep the box, not the mask", () => accept("box"))
  .add(["Delete", "Backspace"], "delete the chosen box", remove)
  .add(["Ctrl+z", "z"], "undo", () => session.step("undo"))
  .add(["Ctrl+Shift+z", "Ctrl+y", "y"], "redo", () => session.step("redo"))
  .add(["b"], "choose the next box", () => session.boxes.length && session.choose((session.chosen + 1) % session.boxes.length))
  .add(["n"], "new box in the middle", centre)
  .add(["g"], "accept a suggestion", suggestion)
  .add(["v", "Escape"], "draw boxes; choose none", () => { if (pointer.tool === "box") session.choose(-1); tool("box"); })
  .add(["p"], "click what belongs to the edit", () => tool("inside"))
  .add(["o"], "click what does not", () => tool("outside"))
  .add(["+", "="], "zoom in", () => zoom(1.25))
  .add(["-"], "zoom out", () => zoom(0.8))
  .add(["0"], "whole picture", fit)
  .add(["1"], "one to one", () => zoom(1 / viewport.scale))
  .add(["["], "masks fainter", () => opacity(100 * drawing.opacity - 10))
  .add(["]"], "masks stronger", () => opacity(100 * drawing.opacity + 10))
  .add(["h"], "hide or show masks", () => { drawing.hidden = !drawing.hidden; redraw(); })
  .add(["c"], "masks, brightness and contrast", () => openLight())
  .add(["e"], "kind of edit and comment of the chosen box", () => session.chosen >= 0 && by("kind").focus())
  .add(["l"], "all pictures", () => openList())
  .add(["?", "F1"], "these keys", () => by("help").showModal());
for (const [key, x, y] of [["ArrowLeft", -1, 0], ["ArrowRight", 1, 0], ["ArrowUp", 0, -1], ["ArrowDown", 0, 1]]) {
  const first = key === "ArrowLeft";
  keys.add([`Ctrl+${key}`], first && "pan (and the other arrows)", () => pan(-60 * x, -60 * y));
  keys.add([`Shift+${key}`], first && "move the chosen box", () => nudge(x, y, true));
  keys.add([`Alt+${key}`], first && "move its lower right corner", () => nudge(x, y, false));
}
keys.listen(window, () => folder !== null, (run) => session.act(run));
keys.describe(by("keys"));

addEventListener("keydown", (event) => {
  if (event.key !== " " || event.target.closest?.("button, input, dialog")) return;
  event.preventDefault();
  pointer.panning = true;
});
addEventListener("keyup", (event) => { if (event.key === " ") pointer.panning = false; });
addEventListener("blur", () => (pointer.panning = false));

const buttons = {
  previous: () => open(session.index - 1),
  next: () => open(session.index + 1),
  undo: () => session.step("undo"),
  redo: () => session.step("redo"),
  "tool-box": () => tool("box"),
  "tool-inside": () => tool("inside"),
  "tool-outside": () => tool("outside"),
  accept: () => accept("mask"),
  keep: () => accept("box"),
  delete: remove,
  authentic: () => judge("authentic"),
  unsure: () => judge("unsure"),
  skipped: () => judge("skipped"),
  done,
  "zoom-in": () => zoom(1.25),
  "zoom-out": () => zoom(0.8),
  "zoom-fit": fit,
  "open-list": () => openList(),
  "open-help": () => by("help").showModal(),
  "open-light": () => openLight(),
  "plain-light": () => { light("brightness", 100); light("contrast", 100); },
};
for (const [id, run] of Object.entries(buttons)) {
  by(id).addEventListener("click", () => {
    session.act(run);
    if (!id.startsWith("open-")) canvas.focus({ preventScroll: true }); // keys keep working after a click
  });
}
by("opacity").addEventListener("input", (event) => opacity(Number(event.target.value)));
for (const name of ["brightness", "contrast"]) by(name).addEventListener("input", (event) => light(name, Number(event.target.value)));
by("kind").addEventListener("change", () => about("kind", by("kind").value || null));
by("comment").addEventListener("change", () => about("comment", by("comment").value));
for (const id of ["kind", "comment"]) by(id).addEventListener("keydown", (event) => { if (["Escape", "Enter"].includes(event.key)) canvas.focus(); });

// the list of all pictures

async function openList() {
  const found = await get("folder").catch(() => null); // another tab may have judged some
  if (found) folder.pictures.forEach((entry, at) => Object.assign(entry, found.pictures[at]));
  by("filter").value = "";
  fillList();
  if (!by("list").open) by("list").showModal();
  by("pictures").querySelector("[aria-current=true]")?.scrollIntoView({ block: "center" });
}

function fillList() {
  const wanted = by("filter").value.toLowerCase();
  const items = folder.pictures.flatMap(({ name, verdict, boxes }, at) => {
    const state = { skipped: "skipped, not judged" }[verdict] ?? verdict ?? (boxes ? "not judged" : "");
    if (!`${name} ${state}`.toLowerCase().includes(wanted)) return [];
    const item = document.createElement("li");
    const button = document.createElement("button");
    const label = document.createElement("span");
    label.textContent = name;
    const mark = document.createElement("span");
    mark.className = "muted";
    mark.textContent = boxes ? `${state}, ${boxes} box${boxes > 1 ? "es" : ""}` : state;
    const image = new Image();
    image.loading = "lazy";
    image.alt = "";
    image.src = `api/pictures/${at}/thumbnail.webp`;
    button.append(image, label, mark);
    button.ariaCurrent = String(at === session.index);
    button.onclick = () => { by("list").close(); open(at); };
    item.append(button);
    return [item];
  });
  by("pictures").replaceChildren(...items);
}
by("filter").addEventListener("input", fillList);

// events of the session

session.addEventListener("change", show);
session.addEventListener("opening", show);
session.addEventListener("saved", reportTime);
session.addEventListener("masked", reportTime);
session.addEventListener("opened", () => {
  if (session.fault) folder.pictures[session.index].fault = true;
  if (session.facts) viewport.show(session.facts.width, session.facts.height);
  if (session.facts?.changed_file) notice("this file has changed since it was annotated: check the boxes");
  show();
});
session.addEventListener("lost", () => notice("the server does not answer. Is it still running? All that it confirmed is saved.", "Try again", () => open(session.index)));
session.addEventListener("refused", () => notice(`the change was refused: ${session.refused}`));
session.addEventListener("boxless", () => notice("choose a box first"));
session.addEventListener("conflict", () => {
  show();
  notice("this picture was changed in another tab; that state is shown now.", "Restore mine", () => session.act(() => session.restore()));
});
// a comment that is still being written is saved before the page goes away
const commit = () => document.activeElement === by("comment") && about("comment", by("comment").value);
document.addEventListener("visibilitychange", () => (document.visibilityState === "visible" ? session.refresh() : commit()));
addEventListener("focus", () => session.refresh());
addEventListener("beforeunload", (event) => { commit(); if (!session.saved) event.preventDefault(); });
new ResizeObserver(() => { viewport.resized(); drawing.draw(); }).observe(by("stage"));

folder = await get("folder");
session.advance(folder.progress);
drawing.opacity = by("opacity").value / 100;
await open(Math.max(0, nextOpen(-1)));
