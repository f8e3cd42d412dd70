// The panel beside the picture: how to read its score, its regions, facts about the file, traces and copied places.

import { get } from "./shared/api.js";

export function h(tag, properties = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && name !== "role") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...inside.filter((one) => one !== null && one !== ""));
  return made;
}

const percent = (share) => (share > 0 && share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`);

// a bar with marks where one in five, twenty and a hundred authentic pictures scores higher
export function meter(position, ticks, verdict) {
  if (position === null || position === undefined) return "";
  const bar = h("div", { className: "meter", role: "img", ariaLabel: "How rare such a high score is among authentic pictures" });
  const fill = h("i", { className: (verdict ?? "").replace(" ", "-") });
  fill.style.width = `${100 * position}%`;
  bar.append(fill);
  for (const tick of ticks) {
    const mark = h("u");
    mark.style.left = `${100 * tick.at}%`;
    const label = h("small", {}, `1 in ${tick.one_in}`);
    label.style.left = `${100 * tick.at}%`;
    bar.append(mark, label);
  }
  return bar;
}

export function showResult(into, facts, folder, go) {
  if (facts.status !== "ok") {
    into.replaceChildren(h("h2", {}, "Not analysed"), h("p", {}, facts.reason));
    return;
  }
  const regions = facts.regions.slice(0, 30).map((region, at) => {
    const { x, y, width, height, area, score } = region;
    const words = `${at + 1}: ${width} × ${height} px at ${x}, ${y}`;
    return h("li", {}, h("button", { onclick: () => go(region), title: `Show region ${at + 1} (R shows the next one)` }, h("span", {}, words), h("span", { className: "muted" }, `${percent(area / (facts.width * facts.height))}, mean of map ${score.toFixed(2)}`)));
  });
  into.replaceChildren(
    h("h2", {}, "The machine's result"),
    h("p", { className: "verdictline" }, h("span", { className: `verdict ${facts.verdict.replace(" ", "-")}` }, facts.verdict), ` score ${facts.score.toFixed(4)}`, facts.threshold ? h("span", { className: "muted" }, `, threshold ${facts.threshold.toFixed(4)}`) : ""),
    facts.verdict_reason ? h("p", {}, `Inconclusive: ${facts.verdict_reason}.`) : "",
    meter(facts.position, folder.ticks, facts.verdict),
    facts.one_in ? h("p", {}, `${facts.one_in[0].toUpperCase()}${facts.one_in.slice(1)}.`) : "",
    h("details", {}, h("summary", {}, "How to read the score"), ...facts.reading.map((line) => h("p", {}, line)), ...folder.notes.map((line) => h("p", { className: "muted" }, line)), h("p", { className: "muted" }, "A high score is an indication, not a proof, and a low one does not show that a picture is authentic.")),
    facts.stability.length ? h("details", {}, h("summary", {}, "Scores after mild changes"), h("ul", {}, ...facts.stability.map((one) => h("li", {}, `${one.change}: ${one.score === null ? "could not be scored" : `${one.score.toFixed(4)}, ${one.verdict}`}`)))) : "",
    h("h3", {}, facts.regions.length ? `Regions (${facts.regions.length}), ${percent(facts.tampered_area)} of the picture` : "No region above the mask threshold"),
    h("ol", { className: "plain", id: "regions" }, ...regions),
  );
}

export function showRemarks(into, facts) {
  into.replaceChildren(
    h("h3", {}, "Remarks on the file"),
    facts.remarks.length ? h("ul", {}, ...facts.remarks.map((text) => h("li", {}, text))) : h("p", { className: "muted" }, "None. Metadata can be wrong, forged or lost; no remark is a verdict."),
  );
}

export function showFile(into, facts) {
  const lines = [["Path", facts.place || facts.path, true], ["In the scan", facts.path], ["SHA-256", facts.sha256, true], ["Size", [facts.width ? `${facts.width} × ${facts.height} px` : null, facts.size].filter(Boolean).join(", ")], ...facts.facts, ...Object.entries(facts.files).map(([name, path]) => [name === "map" ? "Map file" : name === "mask" ? "Mask file" : `File ${name}`, path, true])];
  into.replaceChildren(
    h("h2", {}, "File"),
    facts.place ? "" : h("p", { className: "warn" }, "The picture is not where it was scanned."),
    h("dl", {}, ...lines.filter(([, value]) => value).flatMap(([name, value, code]) => [h("dt", {}, name), h("dd", {}, code ? h("code", {}, value) : value)])),
  );
}

const against = (contrast) => {
  if (contrast === null) return "";
  const size = Math.abs(contrast);
  const words = size < 0.5 ? "hardly differs" : size < 1.5 ? "differs" : "differs strongly";
  return `${words} (${contrast > 0 ? "+" : "−"}${size.toFixed(1)} σ) in the marked area`;
};

// the student's traces, sorted by how much they differ in the marked area
export async function showTraces(into, viewer, index, choose) {
  into.replaceChildren(h("p", { className: "muted" }, "Computing the traces …"));
  let found;
  try {
    found = await get(`pictures/${index}/traces`);
  } catch (error) {
    into.replaceChildren(h("p", { className: "warn" }, `No traces: ${error.message}`));
    return;
  }
  if (viewer.picture?.index !== index) return;
  const traces = found.traces.sort((a, b) => Math.abs(b.contrast ?? 0) - Math.abs(a.contrast ?? 0));
  const buttons = traces.map((trace) => {
    const button = h("button", { ariaPressed: "false", onclick: () => {
      const on = button.ariaPressed !== "true";
      for (const other of into.querySelectorAll("button")) other.ariaPressed = "false";
      button.ariaPressed = String(on);
      choose(on ? trace : null);
    } }, h("b", {}, trace.title), h("small", {}, against(trace.contrast)), h("span", {}, trace.text));
    return h("li", {}, button);
  });
  into.replaceChildren(
    h("h3", {}, "Traces"),
    h("p", { className: "muted" }, found.used ? "What the model uses besides the colours. Press one to show it over the picture: orange is above the usual value of this picture, blue below. The number is its difference in the marked area, in standard deviations (σ) of this picture; it does not show how the model used it." : "The model of this scan uses only the colours; these traces are shown for your information. Orange is above the usual value of this picture, blue below."),
    h("ol", { className: "plain traces" }, ...buttons),
  );
}

export async function showCopies(into, viewer, index, go) {
  into.replaceChildren(h("p", { className: "muted" }, "Searching for copied places …"));
  try {
    const { copies } = await get(`pictures/${index}/copies`);
    if (viewer.picture?.index !== index) return [];
    viewer.picture.copies = copies;
    into.replaceChildren(h("h3", {}, "Copied places"), ...(copies.length
      ? [h("p", { className: "muted" }, "Lines join points that look alike: filled at the first place, hollow at the second. They do not show which one is the copy; if the map is much higher at one of them, that one is more often the copy. Repeating patterns match too."), h("ol", { className: "plain" }, ...copies.map((copy, at) => {
        const ends = bounds(copy.lines);
        const size = Math.abs(copy.scale - 1) > 0.03 ? `, the second ${copy.scale.toFixed(2)} times the first one's size` : "";
        return h("li", {}, h("button", { onclick: () => go(ends) }, h("span", {}, `Pair ${at + 1}: ${copy.matches} points match${size}${mapAtEnds(copy.map_means)}`)));
      }))]
      : [h("p", { className: "muted" }, "No place looks like another one.")]));
    return copies;
  } catch (error) {
    into.replaceChildren(h("p", { className: "warn" }, `Copied places cannot be searched: ${error.message}`));
    return [];
  }
}

function mapAtEnds(means) {
  return means === null ? "" : `; map ${means[0].toFixed(2)} at the first, ${means[1].toFixed(2)} at the second`;
}

function bounds(lines) {
  const xs = lines.flatMap(([x1, , x2]) => [x1, x2]), ys = lines.flatMap(([, y1, , y2]) => [y1, y2]);
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  return { x, y, width: Math.max(...xs) - x + 1, height: Math.max(...ys) - y + 1 };
}
