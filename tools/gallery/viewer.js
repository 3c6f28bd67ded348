// The large view of one filter.

const viewer = byId("viewer");
let viewed = null;  // The filter that was shown last.

let playing = false;  // Shows animations of the ascent instead of the pictures.

function showViewer() {
  const {filter} = view;
  if (!filter) {
    if (viewer.open) {
      viewer.close();
      focusFilter(viewed);
    }
    return;
  }
  viewed = filter;
  byId("viewer-title").textContent = filter.name;
  const place = order.indexOf(filter);
  byId("viewer-place").textContent = place < 0 ? "" : `${place + 1} of ${order.length.toLocaleString("en")}`;
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place + 1 >= order.length;
  byId("pictures").replaceChildren(...filter.records.map((record, which) => largePicture(filter, record, which)));
  byId("curve").replaceChildren(lossCurves(filter));
  byId("numbers").replaceChildren(numbersTable(filter));
  byId("ascent").hidden = !filter.records.some((record) => record?.shown && record.animation);
  if (!viewer.open) {
    viewer.showModal();
    byId("viewer-title").focus();
  }
  // Loads the neighbours, so that the arrow keys need not wait.
  for (const step of [-1, 1]) {
    for (const record of order[place + step]?.records ?? []) if (record?.shown) new Image().src = record.address;
  }
}

function largePicture(filter, record, which) {
  const figure = element("figure");
  const place = figure.appendChild(element("div", {className: "large"}));
  if (record?.shown) {
    record.paint(place);
    const {height, width} = record.run;
    place.style.aspectRatio = `${width} / ${height}`;
    const moving = playing && record.animation;
    const image = element("img", {src: moving || record.address, width, height,
      alt: moving ? `Animation of the ascent of ${filter.name}` : `What ${filter.name} looks for`});
    image.addEventListener("error", () => {
      if (image.getAttribute("src") !== record.address) {
        image.src = record.address;
        return;
      }
      place.removeAttribute("style");
      place.classList.add("empty");
      place.textContent = lostReasons.m;
    });
    place.append(image);
  } else {
    place.classList.add("empty");
    place.textContent = !record ? "This run did not select this filter." : record.lostReason ?? record.why;
  }
  const caption = figure.appendChild(element("figcaption"));
  if (comparing) caption.append(element("b", {textContent: runNames[which]}), ` ${runLabel(which)} `);
  if (record && record.status.key !== "ok") {
    caption.append(element("span", {className: `mark ${record.status.key}`, textContent: record.status.text}));
    if (record.shown) caption.append(` ${record.why} `);
  }
  if (record?.run.synthetic) caption.append(element("span", {className: "badge", textContent: "synthetic weights"}));
  if (record?.shown) caption.append(element("a", {href: record.address, textContent: "Open the file"}));
  return figure;
}

// About `count` round numbers from 0 to `high`.
function ticks(high, count) {
  if (!(high > 0)) return [0];
  const rough = high / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const values = [];
  for (let i = 0; i * step <= high * (1 + 1e-9); ++i) values.push(Number((i * step).toPrecision(12)));
  return values;
}

function lossCurves(filter) {
  const width = 480;
  const height = 240;
  const box = {left: 52, right: width - 16, top: 10, bottom: height - 34};
  const curves = filter.records.map((record) => {
    if (!record || record.status.key === "missing") return [];
    return record.run.steps.map((step, i) => [step, record.curve[i]]).filter(([, loss]) => Number.isFinite(loss));
  });
  const points = curves.flat();
  if (points.length === 0) return element("p", {textContent: "No losses are known."});
  const lastStep = Math.max(1, ...points.map(([step]) => step));
  const highest = Math.max(...points.map(([, loss]) => loss));
  const scale = highest > 0 ? highest * 1.04 : 1;
  const x = (step) => box.left + ((box.right - box.left) * step) / lastStep;
  const y = (loss) => box.bottom - ((box.bottom - box.top) * loss) / scale;

  const spoken = filter.records.map((record, which) => (record ? `${comparing ? `${runNames[which]}: ` : ""}loss from ` +
    `${digits(record.first)} to ${digits(record.final)} in ${counted(record.iterations, "step")}` : "")).filter(Boolean);
  const chart = drawing("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": spoken.join("; ")});
  for (const loss of ticks(scale, 5)) {
    chart.append(drawing("line", {class: "rule", x1: box.left, x2: box.right, y1: y(loss), y2: y(loss)}),
                 drawing("text", {x: box.left - 6, y: y(loss) + 4, "text-anchor": "end"}, String(loss)));
  }
  for (const step of ticks(lastStep, 5)) {
    chart.append(drawing("text", {x: x(step), y: box.bottom + 16, "text-anchor": "middle"}, String(step)));
  }
  chart.append(drawing("text", {class: "axis", x: box.right, y: height - 4, "text-anchor": "end"}, "steps"),
               drawing("text", {class: "axis", x: box.left, y: height - 4}, "loss"));
  curves.forEach((curve, which) => {
    if (curve.length === 0) return;
    const path = curve.map(([step, loss], i) => `${i ? "L" : "M"}${x(step).toFixed(1)} ${y(loss).toFixed(1)}`);
    chart.append(drawing("path", {class: `curve run-${runNames[which]}`, d: path.join("")}));
    const [step, loss] = curve.at(-1);
    chart.append(drawing("circle", {class: `run-${runNames[which]}`, cx: x(step), cy: y(loss), r: 3}));
    if (comparing) {
      chart.append(drawing("text", {x: x(step) - 8, y: y(loss) + (which ? 18 : -6), "text-anchor": "end",
                                    class: `run-${runNames[which]}`}, runNames[which]));
    }
  });

  const line = chart.appendChild(drawing("line", {class: "cursor", y1: box.top, y2: box.bottom}));
  const label = chart.appendChild(drawing("text", {class: "reading", y: box.top + 12}));
  const hide = () => { line.style.display = label.style.display = "none"; };
  hide();
  chart.addEventListener("pointerleave", hide);
  chart.addEventListener("pointermove", (event) => {
    const bounds = chart.getBoundingClientRect();
    const wanted = (((event.clientX - bounds.left) / bounds.width) * width - box.left) / (box.right - box.left) * lastStep;
    const near = curves.map((curve) => curve.reduce(
      (best, point) => (!best || Math.abs(point[0] - wanted) < Math.abs(best[0] - wanted) ? point : best), null));
    const [step] = near.find(Boolean);
    const left = x(step) < width / 2;
    line.style.display = label.style.display = "";
    line.setAttribute("x1", x(step));
    line.setAttribute("x2", x(step));
    label.setAttribute("x", x(step) + (left ? 6 : -6));
    label.setAttribute("text-anchor", left ? "start" : "end");
    label.textContent = `step ${step}: ${near.filter(Boolean).map(([, loss]) => digits(loss)).join(" / ")}`;
  });
  return chart;
}

function table(rows) {
  const made = element("table");
  if (comparing) {
    made.append(element("thead", {}, element("tr", {}, element("td"),
      ...runs.map((_, which) => element("th", {scope: "col", textContent: runNames[which]})))));
  }
  const body = made.appendChild(element("tbody"));
  for (const [name, values] of rows) {
    body.append(element("tr", {}, element("th", {scope: "row", textContent: name}),
      ...values.map((value) => element("td", {textContent: value}))));
  }
  return made;
}

// How many iterations climbed the map before its ReLU; empty if none did.
function rescuedText(record) {
  const count = Math.min(record?.rescued ?? 0, record?.iterations ?? 0);  // An iteration without a gradient takes no step.
  if (count === 0) return "";
  const {aliveFrom} = record;
  const since = aliveFrom > record.iterations ? ", alive at the end" : aliveFrom > 0 ? `, alive from ${aliveFrom}` : "";
  return counted(count, "iteration") + since;
}

function numbersTable(filter) {
  const row = (name, value) =>
    [name, filter.records.map((record) => (record ? value(record) : "–"))];
  const done = (value) => (record) => (record.status.key === "missing" ? "–" : value(record));
  const rescued = filter.records.some((record) => rescuedText(record));
  const rows = [
    row("Status", (record) => [record.status.text, record.lost].filter(Boolean).join(", ")),
    row("First loss", done((record) => digits(record.first, 6))),
    row("Final loss", done((record) => digits(record.final, 6))),
    row("Gain", done((record) => gainText(record.gain))),
    row("Gradient norm", done((record) => digits(record.gradient))),
    row("Steps", done((record) => String(record.iterations))),
    ...(rescued ? [row("Rescued", (record) => rescuedText(record) || "–")] : []),
    row("Seed", (record) => (record.run.start ? "–" : record.run.seed)),
    row("Start", (record) => startText(record.run)),
    row("Recipe", (record) => record.run.recipe.name),
    row("Precision", (record) => record.run.precision || "–"),
    row("Hue", (record) => sorts.hue.show(record.hue === null ? null : sorts.hue.value({record}))),
    row("Contrast", (record) => digits(record.contrast, 3)),
  ];
  const all = element("div", {}, table(rows));
  const commands = new Map();  // Each distinct command, in parts, with a run that it repeats.
  for (const record of filter.records.filter(Boolean)) {
    const parts = commandFor(filter, record);
    commands.set(parts.join(" "), {parts, run: record.run});
  }
  for (const {parts, run} of commands.values()) {
    const others = run.selectors ? ", with all others that have their own start images" : "";
    const which = commands.size > 1 ? `${runNames[runs.indexOf(run)]}: renders` : "Renders";
    all.append(element("p", {className: "command", textContent: run.reproducible
      ? `${which} it again${others}, to the byte on the same device:`
      : `${which} it again${others}, within rounding, since the run was not reproducible:`}));
    // Keeps an option and its value on one line.
    const spans = parts.flatMap((part) => [" ", element("span", {textContent: part})]);
    all.append(element("pre", {tabIndex: 0}, ...spans.slice(1)));
  }
  return all;
}

// The command that renders this filter again, in parts: the command and its filters, then each option with its value.
function commandFor(filter, {run}) {
  return [`filterscope render ${run.selectors || `${filter.layerName}:${filter.number}`}`, ...run.options];
}

function move(step) {
  const next = order[order.indexOf(view.filter) + step];
  if (view.filter && next) go({filter: next}, {replace: true});
}
function closeViewer() {
  if (!view.filter) return;
  if (opened) history.back();
  else go({filter: null}, {replace: true});
  opened = false;
}
viewer.addEventListener("cancel", (event) => {
  event.preventDefault();
  closeViewer();
});
viewer.addEventListener("click", (event) => {
  if (event.target === viewer) closeViewer();
});
// On the document, since a focused button that becomes disabled or hidden loses the focus to nothing.
document.addEventListener("keydown", (event) => {
  if (!viewer.open || event.altKey || event.ctrlKey || event.metaKey) return;
  const step = {ArrowLeft: -1, ArrowRight: 1, Home: -order.indexOf(view.filter),
                End: order.length - 1 - order.indexOf(view.filter)}[event.key];
  if (step === undefined) return;
  event.preventDefault();
  if (step) move(step);
});
byId("previous").addEventListener("click", () => move(-1));
byId("next").addEventListener("click", () => move(1));
byId("close").addEventListener("click", closeViewer);
byId("ascent").addEventListener("click", () => {
  playing = !playing;
  byId("ascent").setAttribute("aria-pressed", String(playing));
  showViewer();
});
byId("pixels").addEventListener("click", () => setPixels(!viewer.classList.contains("pixels")));
function setPixels(on) {
  viewer.classList.toggle("pixels", on);
  byId("pixels").setAttribute("aria-pressed", String(on));
  remember("pixels", on ? "1" : "");
}
