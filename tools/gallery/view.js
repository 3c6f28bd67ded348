// Which filters are shown, and in which order: sorting, searching and the address.

// ---- Sorting and searching

// Each key has a name, a filter's value (null: last), a value that breaks ties (else the number does), whether large
// values come first, and the value's text on a tile.
const greyBelow = 0.01;
const sorts = {
  number: {text: "number"},
  final: {text: "final loss", value: (filter) => filter.record.final, descending: true, show: digits},
  gain: {
    text: "gain",
    value: (filter) => filter.record.gain,
    ties: (filter) => filter.record.final,  // For gains that are infinite.
    descending: true,
    show: gainText,
  },
  hue: {
    text: "hue",
    value: ({record}) => (record.chroma > greyBelow ? record.hue : null),
    show: (value) => (value === null ? "grey" : `${value}°`),
  },
  contrast: {
    text: "contrast",
    value: (filter) => filter.record.contrast,
    descending: true,
    show: (value) => digits(value, 3),
  },
};
if (comparing) {
  sorts.change = {
    text: "B’s final loss over A’s",
    value: ({records: [a, b]}) => {
      if (!a || !b || a.final === null || b.final === null) return null;
      return a.final > 0 ? b.final / a.final : b.final > 0 ? Infinity : null;
    },
    ties: ({records: [, b]}) => b.final,
    descending: true,
    show: gainText,
  };
}

function sorted(filters, key, reverse) {
  const sort = sorts[key];
  if (!sort.value) return reverse ? filters.reverse() : filters;
  const sign = Boolean(sort.descending) !== reverse ? -1 : 1;
  const values = new Map(filters.map((filter) => [filter, sort.value(filter)]));
  return filters.sort((a, b) => {
    const x = values.get(a);
    const y = values.get(b);
    if (x === null || y === null) return (x === null) - (y === null) || byNumber(a, b);
    if (x !== y) return sign * (x < y ? -1 : 1);
    return (sort.ties && sign * (sort.ties(a) - sort.ties(b))) || byNumber(a, b);
  });
}

const plain = (text) => text.toLowerCase().replace(/[^a-z0-9]/g, "");

// A search for layers, numbers and statuses: a filter must match one of each kind that is given.
function parseSearch(text) {
  const query = {layers: null, ranges: [], statuses: []};
  for (const word of text.toLowerCase().split(/[\s:/,;#]+/).filter(Boolean)) {
    const range = word.match(/^(\d+)(?:-(\d+))?$/);
    const status = Object.values(statuses).find(({key, text: name}) => word === key || word === name);
    if (range) {
      query.ranges.push([Number(range[1]), Number(range[2] ?? range[1])]);
    } else if (status) {
      query.statuses.push(status);
    } else {
      query.layers ??= new Set();
      const wanted = plain(word).replace(/^b(\d+)c(\d+)$/, "block$1conv$2");
      layers.forEach((layer, index) => {
        if (plain(layer.name).includes(wanted)) query.layers.add(index);
      });
    }
  }
  return query;
}

function matches(filter, query) {
  if (query.layers && !query.layers.has(filter.layer)) return false;
  if (query.ranges.length && !query.ranges.some(([low, high]) => filter.number >= low && filter.number <= high)) {
    return false;
  }
  return !query.statuses.length || query.statuses.some((status) => hasStatus(filter, status.key));
}

function hasStatus(filter, key) {
  return filter.records.some((record) => record && (key === "lost" ? record.lost : record.status.key === key));
}

// ---- The address

const view = {layer: null, filter: null, sort: "number", reverse: false, status: "all", search: ""};
let note = "";  // An error in the address.

function readAddress() {
  const [path, query = ""] = location.hash.slice(1).split(/\?(.*)/s);
  let parts;
  try {
    parts = path.split("/").map(decodeURIComponent);
  } catch {
    parts = [path];
  }
  const parameters = new URLSearchParams(query);
  const layer = layers.findIndex(({name}) => name === parts[0]);
  note = "";
  view.filter = null;
  view.layer = parts[0] === "all" || usedLayers.length === 0 ? null : usedLayers[0];
  if (layer >= 0) {
    view.layer = layer;
    if (parts.length > 1) {
      view.filter = /^\d+$/.test(parts[1]) ? filtersOfLayer[layer].get(Number(parts[1])) ?? null : null;
      if (!view.filter) note = `There is no ${parts[0]} ${parts[1]} in this run.`;
    }
  } else if (parts[0] !== "" && parts[0] !== "all") {
    note = `There is no layer ${parts[0]}.`;
  }
  if (parameters.get("in") === "all") view.layer = null;
  view.sort = Object.hasOwn(sorts, parameters.get("sort") ?? "") ? parameters.get("sort") : "number";
  view.reverse = parameters.get("reverse") === "1";
  view.status = parameters.get("status") ?? "all";
  view.search = parameters.get("q") ?? "";
}

function addressOf(changes) {
  const to = {...view, ...changes};
  const parameters = new URLSearchParams();
  if (to.sort !== "number") parameters.set("sort", to.sort);
  if (to.reverse) parameters.set("reverse", "1");
  if (to.status !== "all") parameters.set("status", to.status);
  if (to.search) parameters.set("q", to.search);
  if (to.filter && to.layer === null) parameters.set("in", "all");
  const path = to.filter ? to.filter.path : to.layer === null ? "all" : layers[to.layer].name;
  const query = parameters.toString();
  return `#${path}${query ? `?${query}` : ""}`;
}

// Showing another layer or opening a filter is entered in the history; sorting, searching and the next picture are not.
let opened = false;  // The large view was opened by a step that history.back() undoes.
function go(changes, {replace = false} = {}) {
  const target = addressOf(changes);
  if (replace) {
    history.replaceState(null, "", target);
    apply();
  } else if (target !== location.hash) {
    location.hash = target;
  }
}
