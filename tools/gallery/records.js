// The runs, from the JSON in #data, which README.md documents.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const runs = data.runs;
const comparing = runs.length > 1;
const runNames = ["A", "B"];
const layers = data.network.layers;
const networkName = data.network.name.replace("vgg", "VGG");  // As it is usually written.

// ---- Runs, layers and filters

// Each status has a name and a reason. A quiet one is marked on the picture but not named below it.
const statuses = {
  o: {key: "ok", text: "ok"},
  r: {key: "rescued", text: "rescued", quiet: true, why: whyRescued},
  d: {key: "dead", text: "dead", why: whyDead},
  n: {
    key: "nonfinite",
    text: "not finite",
    short: "NaN",
    why: () => "A value stopped being finite: the picture is the last finite one.",
  },
  "-": {key: "missing", text: "missing", why: () => "The run was stopped before this filter was done."},
};

function whyRescued({rescued, aliveFrom, iterations}) {
  const last = aliveFrom - 1;  // The last iteration that climbed the map before the ReLU.
  const always = rescued === last;  // None before it climbed the map after the ReLU.
  const finished = last === iterations;
  let when;
  if (always && finished) when = last === 1 ? "its only iteration" : `any of the ${last} iterations`;
  else if (always) when = last === 1 ? "the first iteration" : `the first ${last} iterations`;
  else if (rescued === 1) when = finished ? "the last iteration" : `iteration ${last}`;
  else if (finished) when = `${rescued} of the ${last} iterations, including the last`;
  else when = `${rescued} of the first ${last} iterations`;
  let since;
  if (finished) since = `It is alive ${always ? "only " : ""}in the finished picture.`;
  else since = `From iteration ${aliveFrom} on it ${always ? "was" : "stayed"} alive.`;
  return `No position of its map was above zero in ${when}, so the map before its ReLU was climbed instead. ${since}`;
}

function whyDead({run, iterations, rescued, final}) {
  if (iterations < run.iterations) {
    const before = run.rescue && final === 0 ? ", not even before its ReLU" : "";
    return iterations === 0
      ? `It had no gradient${before}, so the picture stayed as it was at the start.`
      : `After ${counted(iterations, "step")} it had no gradient${before}, so the picture stayed as it was from there on.`;
  }
  return rescued === iterations
    ? `No position of its map rose above zero in ${counted(iterations, "step")}, although the map before its ReLU was climbed.`
    : "No position of its map is above zero in the finished picture.";
}

const lostTexts = {m: "no file", d: "damaged"};
const lostReasons = {
  m: "The picture's file is missing.",
  d: "The picture's file is damaged or of another size.",
};

// One filter in one run.
class Record {
  constructor(run, block, index) {
    this.run = run;
    this.block = block;
    this.index = index;
    this.status = statuses[block.status[index]];
    this.lost = lostTexts[block.pictures[index]];
    this.lostReason = lostReasons[block.pictures[index]];
    this.shown = block.pictures[index] === "t";
    this.first = block.first[index];
    this.final = block.final[index];
    this.gradient = block.gradient[index];
    this.iterations = block.iterations[index];
    this.rescued = block.rescued[index];
    this.aliveFrom = block.alive[index];
    this.hue = block.hue[index];
    this.chroma = block.chroma[index];
    this.contrast = block.contrast[index];
  }
  get gain() {
    if (this.first === null || this.final === null) return null;
    return this.first > 0 ? this.final / this.first : this.final > 0 ? Infinity : null;
  }
  // Why the record has its status, in sentences; undefined for ok.
  get why() { return this.status.why?.(this); }
  get address() { return this.run.folder + address(this.block.files[this.index]); }
  // The ascent as an animated PNG; null if there is none.
  get animation() {
    const file = this.block.animations[this.index];
    return file ? this.run.folder + address(file) : null;
  }
  // The losses at run.steps; NaN if there is none.
  get curve() {
    if (!this.block.losses) this.block.losses = decodeFloats(this.block.curves);
    const steps = this.run.steps.length;
    return this.block.losses.subarray(this.index * steps, (this.index + 1) * steps);
  }
  // Makes the small picture the background of `element`.
  paint(element) {
    const {columns, pictures} = this.run.thumbnail;
    const atlas = Math.floor(this.index / pictures);
    const rows = Math.ceil(Math.min(pictures, this.block.numbers.length - atlas * pictures) / columns);
    const place = this.index % pictures;
    const share = (position, count) => (count > 1 ? (100 * position) / (count - 1) : 0);
    element.style.backgroundImage = `url("${address(this.block.atlases[atlas])}")`;
    element.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
    element.style.backgroundPosition =
      `${share(place % columns, columns)}% ${share(Math.floor(place / columns), rows)}%`;
  }
}

function address(path) {
  return path.split("/").map(encodeURIComponent).join("/");
}

function decodeFloats(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; ++i) bytes[i] = text.charCodeAt(i);
  return new Float32Array(bytes.buffer);
}

// One filter: its record in each run, null if the run did not select it.
class Filter {
  constructor(layer, number) {
    this.layer = layer;
    this.number = number;
    this.records = runs.map(() => null);
    this.tile = null;
  }
  get layerName() { return layers[this.layer].name; }
  get name() { return `${this.layerName} ${this.number}`; }
  get shortLayer() { return this.layerName.replace(/^block(\d+)_conv(\d+)$/, "b$1c$2"); }
  get path() { return `${this.layerName}/${this.number}`; }
  // The record that represents the filter: that of the first run that has it.
  get record() { return this.records.find((record) => record); }
}

const filtersOfLayer = layers.map(() => new Map());
runs.forEach((run, which) => {
  for (const block of run.layers) {
    block.numbers.forEach((number, index) => {
      const filters = filtersOfLayer[block.layer];
      if (!filters.has(number)) filters.set(number, new Filter(block.layer, number));
      filters.get(number).records[which] = new Record(run, block, index);
    });
  }
});
const byNumber = (a, b) => a.layer - b.layer || a.number - b.number;
const allFilters = filtersOfLayer.flatMap((filters) => [...filters.values()]).sort(byNumber);
const usedLayers = layers.map((_, index) => index).filter((index) => filtersOfLayer[index].size > 0);
