// The page: list, viewer and decision around the picture that is open.

import { get, post, Refused } from "./shared/api.js";
import { Keys } from "./shared/keys.js";
import { Pointer } from "./shared/pointer.js";
import { Viewport } from "./shared/viewport.js";
import { Boxes } from "./boxes.js";
import { Decision } from "./decision.js";
import { h, showCopies, showFile, showRemarks, showResult, showTraces } from "./details.js";
import { Lens, WAYS } from "./lens.js";
import { List } from "./list.js";
import { TileStore } from "./tiles.js";
import { MODES, Viewer } from "./viewer.js";

const by = (id) => document.getElementById(id);
const MOST = 8; // screen pixels per picture pixel: 800 %
const POLL = 2000;

const folder = await get("folder").catch((error) => {
  by("hint").textContent = `The page cannot be opened: ${error.message}`;
  throw error;
});
const list = new List(by("rows"));
const store = new TileStore();
const viewport = new Viewport(by("pane-a"), MOST / (devicePixelRatio || 1));
const boxes = new Boxes();
const viewer = new Viewer(store, [by("pane-a"), by("pane-b")], viewport, boxes);
const decision = new Decision();
const lens = new Lens(by("lens"));
let open = { index: -1, facts: null, region: -1, waiting: [] };
let magnifying = false;
let beside = [0, 0]; // the pointer on the stage
let known = { rows: 0, decisions: 0 };
let preparing = -1; // the picture whose tiles are fetched ahead; `data-prepared` names it when they are there
const ahead = new Map(); // index → the server's answer for the next picture

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

// opening a picture

const ask = (index) => get(`pictures/${index}`);

let drawn = -1; // the picture that is drawn in full

async function show(index, push = true) {
  if (index < 0 || index >= list.rows.length || index === open.index) return;
  if (!(await decision.settled())) return notice("This decision is not saved yet, so this picture stays open.");
  notice("");
  const row = list.rows[index];
  open = { index, facts: null, region: -1, waiting: [] };
  drawn = -1;
  by("stage").dataset.ready = "";
  document.body.dataset.view = "picture";
  document.title = `${row.path} – imltool review`;
  if (push) history.pushState(null, "", `#${encodeURIComponent(row.path)}`);
  list.reach(index);
  boxes.open(null, null); // no box can be drawn before the earlier boxes are known
  decision.open(-1, { revision: 0, opinion: { status: "open", conclusion: null, text: "", boxes: null }, history: [] });
  viewer.lines = false;
  for (const id of ["traces", "copies"]) by(id).replaceChildren();
  if (row.verdict) viewer.show(index, ...row.size);
  else {
    viewer.clear();
    drawn = index; // nothing to draw
  }
  by("hint").textContent = row.verdict ? "" : `not analysed: ${row.reason}`;
  let facts;
  try {
    facts = await (ahead.get(index) ?? ask(index));
  } catch (error) {
    if (open.index === index) notice(`The server does not answer: ${error.message}`, "Try again", () => { open.index = -1; show(index, false); });
    return;
  }
  ahead.clear();
  if (open.index !== index) return;
  open.facts = facts;
  boxes.open(facts.status === "ok" ? facts : null, facts.decision.opinion.boxes);
  decision.open(facts.status === "ok" ? index : -1, facts.decision);
  decision.refresh(); // the answer fetched ahead may be outdated
  showResult(by("result"), facts, folder, reach);
  showRemarks(by("remarks"), facts);
  showFile(by("file"), facts);
  for (const id of ["decision", "why"]) by(id).hidden = facts.status !== "ok";
  by("details").scrollTop = 0;
  for (const run of open.waiting.splice(0)) run();
  paint();
  settle();
}

viewer.addEventListener("drawn", ({ detail }) => {
  by("zoom").textContent = `${viewer.zoom} %`;
  if (detail.fault) by("hint").textContent = detail.fault;
  if (detail.whole || detail.fault) drawn = open.index;
  settle();
  look();
});

// the picture is drawn and its decision known: the user can work on it, and the next one is prepared
function settle() {
  if (drawn !== open.index || !open.facts || by("stage").dataset.ready === String(open.index)) return;
  by("stage").dataset.ready = String(open.index);
  prefetch();
}

function prefetch() {
  const next = list.listed[list.at + 1];
  if (list.at < 0 || !next?.verdict || next.size[0] * next.size[1] > 60e6) return; // memory does not hold two huge pictures
  viewer.prefetch(next.index, ...next.size);
  preparing = next.index;
  if (!ahead.has(next.index)) ahead.set(next.index, ask(next.index).catch(() => ask(next.index)));
}

function step(by) {
  const at = list.at < 0 ? (by > 0 ? 0 : -1) : list.at + by;
  const row = list.listed[at];
  if (row) show(row.index);
  else notice(by > 0 ? "This is the last picture of the list." : "This is the first picture of the list.");
}

async function nextOpen() {
  const from = list.at;
  const rows = [...list.listed.slice(from + 1), ...list.listed.slice(0, Math.max(from, 0))];
  const row = rows.find(({ status, decided, verdict }) => verdict && status === "open" && !decided);
  if (row) return show(row.index);
  if (await decision.settled()) notice("Every listed picture has a decision.");
}

function reach({ x, y, width, height }) {
  viewport.reach([x, y, x + width, y + height]);
  viewer.redraw();
}

function nextRegion() {
  const regions = open.facts?.regions ?? [];
  if (!regions.length) return notice("The mask has no region.");
  open.region = (open.region + 1) % regions.length;
  reach(regions[open.region]);
}

// what the controls show

function radios(id, names, change, words = (name) => name) {
  by(id).replaceChildren(...names.map((name, at) => h("button", { role: "radio", ariaChecked: "false", onclick: () => change(name), title: words(name) }, name)));
  for (const [at, name] of names.entries()) by(id).children[at].dataset.name = name;
}
// keys pressed before the server has answered are meant for the picture being opened
const soon = (run) => (open.facts ? run() : open.waiting?.push(run));
const judge = (conclusion) => soon(() => decision.change({ conclusion: decision.opinion.conclusion === conclusion ? null : conclusion }));
const mark = (status) => soon(() => decision.change({ status }));
radios("statuses", folder.statuses, mark);
radios("conclusions", Object.keys(folder.conclusions), judge, (name) => folder.conclusions[name]);

const stamp = (time) => time.replace("T", " ").replace(/\.\d+Z$/, " UTC");

function paint() {
  const { facts } = open;
  const { opinion, known: decided } = decision;
  for (const button of by("statuses").children) button.ariaChecked = String(button.dataset.name === opinion.status);
  for (const button of by("conclusions").children) button.ariaChecked = String(button.dataset.name === opinion.conclusion);
  by("sentence").textContent = folder.conclusions[opinion.conclusion] ?? "No conclusion yet.";
  by("machine").textContent = facts?.verdict ? `Machine: ${facts.verdict}, score ${facts.score.toFixed(4)}. Your decision is kept apart from it.` : "";
  by("decided").textContent = decided?.time ? `${decided.examiner}, ${stamp(decided.time)}` : "not decided yet";
  by("history").hidden = (decided?.history.length ?? 0) < 2;
  by("history").querySelector("ol").replaceChildren(...(decided?.history ?? []).map((row) => h("li", {}, h("b", {}, `${row.status}${row.conclusion ? `, ${row.conclusion}` : ""}`), ` ${row.examiner}, ${stamp(row.time)}`, row.boxes === null ? "" : `, ${row.boxes} boxes`, row.text ? h("p", {}, row.text) : "")));
  const trouble = decision.unsaved || folder.fault;
  by("saved").textContent = trouble ? `not saved: ${trouble}` : !decision.saved ? "saving …" : decision.revision ? "saved" : "";
  by("saved").className = trouble ? "bad" : "muted";
  paintHead();
  const made = list.rows.filter((row) => row.decided).length;
  const analysed = list.rows.filter((row) => row.verdict).length;
  by("bar").value = analysed ? made / analysed : 0;
  by("progress").textContent = `${made} of ${analysed} decided`;
  by("report").textContent = { wanted: "Writing report …", writing: "Writing report …", written: "Report written" }[folder.report] ?? "Write report";
  by("report").disabled = ["wanted", "writing"].includes(folder.report);
  for (const mode of MODES) by(`mode-${mode}`).ariaChecked = String(viewer.mode === mode);
  by("compare-label").hidden = viewer.mode === "layers";
  by("divider").hidden = viewer.mode !== "swipe";
  by("divider").style.left = `${100 * viewer.divider}%`;
  by("divider").ariaValueNow = String(Math.round(100 * viewer.divider));
  by("stage").dataset.mode = viewer.mode;
  by("magnify").ariaPressed = String(magnifying);
  by("draw").ariaPressed = String(drawing());
  by("box-tools").hidden = !drawing();
  by("delete-box").disabled = boxes.chosen < 0;
  by("no-boxes").disabled = !boxes.kept;
  by("take-regions").disabled = !facts?.regions?.length;
  viewer.redraw();
}

// the open picture, and its scan
function paintHead() {
  const path = list.rows[open.index]?.path;
  const slash = path?.lastIndexOf("/") ?? -1;
  by("title").textContent = path?.slice(slash + 1) ?? folder.title;
  by("title").title = path ?? folder.out;
  const parts = [slash > 0 && path.slice(0, slash), path && folder.title, folder.case.id && `Case ${folder.case.id}`, `examiner ${folder.examiner}`, !folder.finished && "the scan is still running"];
  by("scan").textContent = parts.filter(Boolean).join(" · ");
  by("details").hidden = !path;
  if (!path) by("hint").textContent = list.rows.length ? "Choose a picture in the list." : "";
}

decision.addEventListener("change", () => {
  const row = list.rows[decision.index];
  if (row && decision.revision) {
    const { status, conclusion, text } = decision.opinion;
    if (row.status !== status || row.conclusion !== conclusion || row.note !== Boolean(text) || !row.decided) {
      Object.assign(row, { status, conclusion, note: Boolean(text), decided: true });
      list.paint();
    }
  }
  paint();
});
decision.addEventListener("saved", () => {
  const row = list.rows[decision.index];
  if (row) Object.assign(row, { status: decision.opinion.status, conclusion: decision.opinion.conclusion, note: Boolean(decision.opinion.text), decided: true });
  list.paint();
});
decision.addEventListener("adopted", () => {
  by("text").value = decision.opinion.text;
  if (boxes.facts) boxes.adopt(decision.opinion.boxes);
});
decision.addEventListener("conflict", () => notice(`${decision.other} has decided on this picture in the meantime. That decision is shown; yours was not saved.`, "Replace it with mine", () => decision.restore()));
by("text").addEventListener("input", () => decision.change({ text: by("text").value }, true));
by("text").addEventListener("blur", () => decision.flush());
boxes.addEventListener("edited", () => decision.change({ boxes: boxes.said }));
boxes.addEventListener("change", () => paint());
boxes.addEventListener("tap", ({ detail: [x, y] }) => {
  const at = (open.facts?.regions ?? []).findIndex((region) => x >= region.x && y >= region.y && x <= region.x + region.width && y <= region.y + region.height);
  if (at < 0) return;
  open.region = at;
  reach(open.facts.regions[at]);
});

// pointer, magnifier, divider

const pointers = ["pane-a", "pane-b"].map((id) => new Pointer(by(id), viewport, boxes, () => viewer.redraw()));
boxes.pointers = pointers;
const drawing = () => !pointers[0].panning;
function draw(on) {
  if (on && !boxes.facts) return;
  for (const pointer of pointers) pointer.panning = !on;
  for (const id of ["pane-a", "pane-b"]) by(id).style.cursor = on ? "crosshair" : "grab";
  if (!on) boxes.choose(-1);
  paint();
}

for (const id of ["pane-a", "pane-b"]) {
  by(id).addEventListener("pointermove", (event) => {
    const { left, top } = by(id).getBoundingClientRect();
    const stage = by("stage").getBoundingClientRect();
    beside = [event.clientX - stage.left, event.clientY - stage.top];
    viewer.pointed = viewport.toPicture(event.clientX - left, event.clientY - top);
    if (viewer.mode === "side") viewer.redraw();
    else look();
  });
  by(id).addEventListener("pointerleave", () => { viewer.pointed = null; viewer.redraw(); });
}

function look() {
  const { picture } = viewer;
  by("lens").hidden = !magnifying || !picture;
  if (by("lens").hidden) return;
  const centre = [by("pane-a").clientWidth / 2, by("pane-a").clientHeight / 2];
  const place = viewer.pointed ?? viewport.toPicture(...centre);
  lens.draw(picture.layers.original, place, viewer.pointed ? beside : centre, by("stage"));
}
store.addEventListener("loaded", look);
store.addEventListener("loaded", () => { if (store.idle) by("stage").dataset.prepared = String(preparing); });

function slide(share) {
  viewer.divider = Math.min(Math.max(share, 0), 1);
  paint();
}
by("divider").addEventListener("pointerdown", (event) => by("divider").setPointerCapture(event.pointerId));
by("divider").addEventListener("pointermove", (event) => {
  if (!by("divider").hasPointerCapture(event.pointerId)) return;
  const { left, width } = by("stage").getBoundingClientRect();
  slide((event.clientX - left) / width);
});
by("divider").addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
  if (!by) return;
  event.preventDefault();
  event.stopPropagation();
  slide(viewer.divider + by);
});

// layers and light

const OPACITIES = [["map", "Map"], ["outline", "Outline of the mask"], ...folder.companions.filter(({ name }) => name !== "ghost").map(({ name, title }) => [name, title]), ["trace", "Trace"]];
const slider = (id, label, value, most, run) => h("label", {}, h("span", {}, label), h("input", { id, type: "range", min: 0, max: most, value, oninput: ({ target }) => run(Number(target.value)) }), h("output", {}, `${value}`));
function opacity(name, value) {
  viewer.shown[name] = Math.min(Math.max(value, 0), 100);
  paintLayers();
  viewer.redraw();
}
function paintLayers() {
  for (const [name] of OPACITIES) set(`opacity-${name}`, viewer.shown[name]);
  for (const name of ["brightness", "contrast"]) set(name, viewer.light[name]);
  by("lines").checked = viewer.lines;
}
function set(id, value) {
  by(id).value = value;
  by(id).nextElementSibling.textContent = value;
}
const light = (name, value) => { viewer.light[name] = value; paintLayers(); viewer.redraw(); };
by("layers").append(
  h("h2", {}, "Layers"),
  ...OPACITIES.map(([name, title]) => slider(`opacity-${name}`, title, viewer.shown[name], 100, (value) => opacity(name, value))),
  h("label", {}, h("span", {}, "Lines of copied places"), h("input", { id: "lines", type: "checkbox", onchange: ({ target }) => lines(target.checked) })),
  h("h2", {}, "Light"),
  slider("brightness", "Brightness", 100, 300, (value) => light("brightness", value)),
  slider("contrast", "Contrast", 100, 300, (value) => light("contrast", value)),
  h("button", { onclick: () => { light("brightness", 100); light("contrast", 100); } }, "As it is"),
  h("label", {}, h("span", {}, "Magnifier"), h("select", { id: "way", onchange: ({ target }) => { lens.way = target.value; look(); } }, ...Object.entries(WAYS).map(([value, words]) => h("option", { value }, words)))),
  h("h2", {}, "How to read them"),
  ...folder.companions.map(({ name, title, text }) => h("p", {}, h("b", {}, title), ` ${text} `, name === "ghost" ? h("button", { id: "ghosts", onclick: () => ghosts() }, "Show") : "")),
);
by("compare").replaceChildren(...[["map", "map"], ["ela", "error level"], ["noise", "noise residual"], ["original", "original"], ["trace", "chosen trace"]].map(([value, words]) => h("option", { value }, words)));
by("compare").addEventListener("change", ({ target }) => { viewer.compare = target.value; paint(); });

async function ghosts() {
  if (open.index < 0) return;
  const { title, text } = folder.companions.find(({ name }) => name === "ghost");
  by("sheet-title").textContent = title;
  by("sheet-text").textContent = text;
  by("sheet-picture").alt = `${title} of ${open.facts?.path}`;
  by("sheet-picture").src = `api/pictures/${open.index}/companions/ghost.png`;
  by("sheet").showModal();
}

async function trace(chosen) {
  const { picture } = viewer;
  if (!picture) return;
  picture.trace = null;
  if (!chosen) {
    opacity("trace", 0);
    return;
  }
  const reply = await fetch(`api/pictures/${picture.index}/traces/${chosen.number}.png`);
  const bitmap = await createImageBitmap(await reply.blob());
  if (viewer.picture !== picture) return;
  picture.trace = { ...chosen, bitmap };
  if (!viewer.shown.trace) opacity("trace", 80);
  if (viewer.mode !== "layers") viewer.compare = by("compare").value = "trace";
  viewer.redraw();
}

async function lines(on) {
  viewer.lines = on;
  paintLayers();
  viewer.redraw();
  if (on && viewer.picture && !viewer.picture.copies.length) await showCopies(by("copies"), viewer, open.index, reach);
  viewer.redraw();
}
const traces = () => open.facts?.status === "ok" && showTraces(by("traces"), viewer, open.index, trace);

function mode(name) {
  viewer.mode = name;
  const { fitted } = viewport;
  paint();
  requestAnimationFrame(() => {
    viewer.draw(); // the panes have their new size
    if (fitted) viewport.fit();
    viewer.redraw();
  });
}
function magnify(on) {
  magnifying = on;
  paint();
  look();
}
const zoom = (factor) => { viewport.zoom(factor); viewer.redraw(); };
const pan = (x, y) => { viewport.pan(x, y); viewer.redraw(); };
const fit = () => { viewport.fit(); viewer.redraw(); };
const oneToOne = () => zoom(1 / viewer.dense / viewport.scale);
const toggle = (name, on) => opacity(name, viewer.shown[name] ? 0 : on);
function layersPanel(on = by("layers").hidden) {
  by("layers").hidden = !on;
  by("open-layers").ariaExpanded = String(on);
  by(on ? "opacity-map" : "pane-a").focus();
}

// filters

const SELECTS = { verdict: "by-verdict", status: "by-status", conclusion: "by-conclusion", camera: "by-camera", remark: "by-remark", folder: "by-folder" };
function fillSelects() {
  for (const [field, id] of Object.entries(SELECTS)) {
    const values = list.values(field);
    const chosen = list.chosen[field] ?? "";
    if (chosen && !values.some(([value]) => value === chosen)) values.push([chosen, 0]);
    by(id).replaceChildren(h("option", { value: "" }, "all"), ...values.slice(0, 300).map(([value, count]) => h("option", { value }, `${value.length > 60 ? `${value.slice(0, 60)}…` : value} (${count})`)));
    by(id).value = chosen;
  }
}
function sift() {
  list.words = by("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const [field, id] of Object.entries(SELECTS)) list.chosen[field] = by(id).value;
  list.order = by("order").value;
  by("rows").scrollTop = 0;
  list.sift();
  list.reach(open.index);
}
by("filter").addEventListener("input", sift);
for (const id of [...Object.values(SELECTS), "order"]) by(id).addEventListener("change", sift);
for (const id of Object.values(SELECTS)) by(id).addEventListener("focus", fillSelects);
function clearFilters() {
  by("filter").value = "";
  for (const id of Object.values(SELECTS)) by(id).value = "";
  sift();
}
list.addEventListener("sifted", () => {
  const [words, button] = by("none").children;
  by("none").hidden = list.listed.length > 0;
  words.textContent = list.rows.length ? "No picture matches." : folder.finished ? "The scan has no files." : "The scan has not written a row yet.";
  button.hidden = !list.rows.length;
  by("shown").textContent = list.listed.length === list.rows.length ? `${list.rows.length} listed` : `${list.listed.length} of ${list.rows.length} listed`;
});
list.addEventListener("open", ({ detail }) => show(detail));
by("rows").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && list.at < 0) step(1);
});

// other examiners, other windows, and a scan that is still running

async function poll() {
  try {
    const found = await get(`changes?rows=${known.rows}&decisions=${known.decisions}`);
    take(found);
  } catch (error) {
    folder.fault = ""; // a decision that cannot be saved shows this itself
    if (error instanceof Refused) notice(error.message);
  }
  setTimeout(poll, POLL);
}

function take(found) {
  const grown = found.rows.length > 0;
  if (grown) list.add(found.rows);
  let mine = false;
  for (const [index, marks] of Object.entries(found.decided)) {
    Object.assign(list.rows[index], marks);
    mine ||= Number(index) === open.index;
  }
  Object.assign(folder, { finished: found.finished, fault: found.fault, report: found.report });
  known = { rows: list.rows.length, decisions: found.decisions };
  if (grown || Object.keys(found.decided).length) {
    if (grown && document.activeElement?.tagName !== "SELECT") fillSelects();
    list.paint();
    if (mine) decision.refresh();
  }
  paint();
}

// keys

const keys = new Keys()
  .add(["ArrowDown", "j", "PageDown"], "next picture", () => step(1))
  .add(["ArrowUp", "k", "PageUp"], "previous picture", () => step(-1))
  .add(["Enter"], "next picture without a decision", () => nextOpen());
folder.statuses.forEach((status, at) => keys.add([String(at + 1)], `status: ${status}`, () => mark(status)));
Object.keys(folder.conclusions).forEach((name) => keys.add([name[0]], `conclusion: ${name}`, () => judge(name))); // E, N, I
keys
  .add(["t"], "write reasons and notes", () => by("text").focus())
  .add(["/"], "filter", () => { document.body.dataset.view = "list"; by("filter").focus(); })
  .add(["l"], "to the list", () => { document.body.dataset.view = "list"; by("rows").focus(); })
  .add(["v"], "layers, side by side, swipe", () => mode(MODES[(MODES.indexOf(viewer.mode) + 1) % MODES.length]))
  .add(["m"], "map on or off", () => toggle("map", 60))
  .add(["o"], "outline on or off", () => toggle("outline", 100))
  .add(["["], "map fainter", () => opacity("map", viewer.shown.map - 10))
  .add(["]"], "map stronger", () => opacity("map", viewer.shown.map + 10))
  .add(["r"], "next region", nextRegion)
  .add(["c"], "lines of copied places", () => lines(!viewer.lines))
  .add(["w"], "traces", traces)
  .add(["y"], "layers and light", () => layersPanel())
  .add(["g"], "magnifier", () => magnify(!magnifying))
  .add(["Shift+g"], "contrast of the magnifier", () => { lens.turn(); by("way").value = lens.way; magnify(true); })
  .add(["b"], "draw boxes, or stop", () => draw(!drawing()))
  .add(["Delete", "Backspace"], "delete the chosen box", () => boxes.remove())
  .add(["+", "="], "zoom in", () => zoom(1.25))
  .add(["-"], "zoom out", () => zoom(0.8))
  .add(["z"], "one to one", oneToOne)
  .add(["8"], "800 %", () => zoom(MOST / viewer.dense / viewport.scale))
  .add(["0"], "whole picture", fit)
  .add(["Escape"], "close; stop drawing", () => { if (!by("layers").hidden) layersPanel(false); else if (drawing()) draw(false); else document.body.dataset.view = "list"; })
  .add(["?", "F1"], "these keys", () => by("help").showModal());
for (const [key, x, y] of [["ArrowLeft", -1, 0], ["ArrowRight", 1, 0], ["ArrowUp", 0, -1], ["ArrowDown", 0, 1]]) {
  keys.add([`Shift+${key}`], key === "ArrowLeft" && "move the picture (and the other arrows)", () => pan(-80 * x, -80 * y));
}
keys.listen(window, () => true, (run) => run());
keys.describe(by("keys"));
by("text").addEventListener("keydown", (event) => {
  if (event.key === "Escape") by("pane-a").focus();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); decision.flush(); by("pane-a").focus(); }
});
by("filter").addEventListener("keydown", (event) => {
  if (["Escape", "Enter", "ArrowDown"].includes(event.key)) { event.preventDefault(); by("rows").focus(); if (event.key !== "Escape") step(1); }
});

by("none").querySelector("button").addEventListener("click", clearFilters);
const buttons = {
  clear: clearFilters,
  "to-list": () => { document.body.dataset.view = "list"; by("rows").focus(); },
  previous: () => step(-1),
  next: () => step(1),
  "open-help": () => by("help").showModal(),
  "zoom-in": () => zoom(1.25),
  "zoom-out": () => zoom(0.8),
  "zoom-fit": fit,
  "zoom-one": oneToOne,
  "mode-layers": () => mode("layers"),
  "mode-side": () => mode("side"),
  "mode-swipe": () => mode("swipe"),
  magnify: () => magnify(!magnifying),
  draw: () => draw(!drawing()),
  "open-layers": () => layersPanel(),
  "take-regions": () => boxes.take(open.facts.regions.map(({ x, y, width, height }) => [x, y, x + width, y + height])),
  "delete-box": () => boxes.remove(),
  "no-boxes": () => boxes.forget(),
  "find-copies": () => lines(true),
  "show-traces": traces,
  "next-open": nextOpen,
  report: async () => { Object.assign(folder, await post("report", {}).catch((error) => ({ fault: error.message }))); paint(); },
};
for (const [id, run] of Object.entries(buttons)) by(id).addEventListener("click", run);

addEventListener("popstate", () => fromAddress(false));
addEventListener("beforeunload", (event) => { if (!decision.saved) event.preventDefault(); });
document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && decision.flush());
new ResizeObserver(() => { viewport.resized(); viewer.redraw(); }).observe(by("pane-a"));

function fromAddress(push) {
  const path = decodeURIComponent(location.hash.slice(1));
  const row = path ? list.rows.find((one) => one.path === path) : null;
  if (row) show(row.index, push);
  else if (path) notice("The scan has no picture with this address.");
  return Boolean(row);
}

take({ ...folder });
fillSelects();
draw(false);
if (!fromAddress(false) && innerWidth > 820) step(1);
setTimeout(poll, POLL);
