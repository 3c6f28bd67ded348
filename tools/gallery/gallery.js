// The gallery: looks through one run's pictures, or through two runs side by side. Its data is the JSON in #data, which
// host/gallery/page.h documents. What is seen is a function of the address after "#":
//   LAYER[/FILTER][?sort=KEY&reverse=1&status=KEY&q=TEXT&in=all]   LAYER may be "all"
// so that every view can be linked to and survives a reload.
"use strict";

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const runs = data.runs;
  const comparing = runs.length > 1;
  const runNames = ["A", "B"];
  const layers = data.network.layers;
  const networkName = data.network.name.replace("vgg", "VGG");  // As people write it.

  // ---- What the runs hold

  const statuses = {
    o: {key: "ok", text: "ok"},
    d: {key: "dead", text: "dead", why: "Its gradient became zero: the picture stayed as it was from there on."},
    n: {key: "nonfinite", text: "not finite", short: "NaN", why: "A value stopped being finite: the picture is the last finite one."},
    "-": {key: "missing", text: "missing", why: "The run was stopped before this filter was done."},
  };
  const lostTexts = {m: "no file", d: "damaged"};
  const lostReasons = {
    m: "The picture's file is not there.",
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
      this.hue = block.hue[index];
      this.chroma = block.chroma[index];
      this.contrast = block.contrast[index];
    }
    get gain() {
      if (this.first === null || this.final === null) return null;
      return this.first > 0 ? this.final / this.first : this.final > 0 ? Infinity : null;
    }
    get address() { return address(this.run.folder + this.block.files[this.index]); }
    // The ascent as an animated PNG; null where there is none.
    get animation() {
      const file = this.block.animations[this.index];
      return file ? address(this.run.folder + file) : null;
    }
    // The losses at run.steps; NaN where there is none.
    get curve() {
      if (!this.block.losses) this.block.losses = decodeFloats(this.block.curves);
      const steps = this.run.steps.length;
      return this.block.losses.subarray(this.index * steps, (this.index + 1) * steps);
    }
    // Puts the small picture behind `element`.
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

  // One filter: its record in each run, null where the run did not select it.
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
    // The record that stands for the filter where one has to: that of the first run that has it.
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

  // ---- Text

  function digits(value, count = 4) {
    if (value === null || Number.isNaN(value)) return "–";
    if (!Number.isFinite(value)) return "∞";
    if (value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-4)) return value.toExponential(count - 1);
    const text = value.toPrecision(count);
    return text.includes("e") ? String(Math.round(value)) : text;
  }
  const gainText = (value) => (value === null ? "–" : `×${digits(value, 3)}`);
  const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

  function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }
  function drawing(tag, attributes = {}, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  // ---- Sorting and searching

  // Each key: how it is called, a filter's value (null: last), whether large ones come first, and its text on a tile.
  const greyBelow = 0.01;
  const sorts = {
    number: {text: "number"},
    final: {text: "final loss", value: (filter) => filter.record.final, descending: true, show: digits},
    gain: {text: "gain", value: (filter) => filter.record.gain, descending: true, show: gainText},
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
      value: ({records: [a, b]}) => (a && b && a.final > 0 && b.final !== null ? b.final / a.final : null),
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
      return x === y ? byNumber(a, b) : sign * (x < y ? -1 : 1);
    });
  }

  const plain = (text) => text.toLowerCase().replace(/[^a-z0-9]/g, "");

  // What a search asks for: layers, numbers and statuses; of each kind any, of all kinds one.
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
  let note = "";  // What was wrong with the address.

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

  // Changes of what is looked at go into the history; changes of how (sorting, searching, the next picture) do not.
  let opened = false;  // The large view was opened by a step that history.back() takes back.
  function go(changes, {replace = false} = {}) {
    const target = addressOf(changes);
    if (replace) {
      history.replaceState(null, "", target);
      apply();
    } else if (target !== location.hash) {
      location.hash = target;
    }
  }

  // ---- The grid

  // Only the rows in and near sight are in the document: thousands of filters then cost no more than dozens. Tiles have
  // one size, so where each stands is known without asking the browser.
  const grid = byId("grid");
  const columnGap = 10;
  const rowGap = 8;
  const headingHeight = 44;
  const captionLine = 16;
  const reach = 1000;  // Pixels beyond the window that are kept ready.
  let order = [];       // The filters of the grid; each knows its place in it.
  let orderKey = null;  // What the grid was made from.
  let rows = [];        // {top, height, first, count} of tiles, {top, height, heading} of a layer's name.
  let current = 0;      // The place of the tile that Tab leads to.
  let columns = 1;
  let cell = {width: 0, height: 0};

  function makeTile(filter) {
    const tile = element("a", {className: "tile", tabIndex: -1});
    const frame = tile.appendChild(element("span", {className: "frame"}));
    const labels = [];
    filter.records.forEach((record, which) => {
      const picture = frame.appendChild(element("span", {className: "picture"}));
      if (comparing) picture.dataset.run = runNames[which];
      if (!record) {
        picture.classList.add("empty");
        picture.textContent = "not in run";
        return;
      }
      picture.classList.add(record.status.key);
      if (record.shown) {
        record.paint(picture);
      } else {
        picture.classList.add("empty");
        picture.textContent = record.lost ?? record.status.text;
      }
      if (record.lost) picture.classList.add("lost");
      const words = [];
      if (record.status.key !== "ok") words.push(record.status.text);
      if (record.lost) words.push(record.lost);
      if (record.final !== null && record.status.key !== "missing") words.push(`final loss ${digits(record.final)}`);
      labels.push((comparing ? `${runNames[which]}: ` : "") + words.join(", "));
    });
    tile.setAttribute("aria-label", [filter.name, ...labels].join(", "));
    tile.append(element("span", {className: "caption", ariaHidden: "true"}));
    tile.filter = filter;
    return tile;
  }

  function captionOf(filter) {
    const sort = sorts[view.sort];
    const parts = [element("b", {textContent: mixed() ? `${filter.shortLayer} ${filter.number}` : filter.number}), " "];
    const marks = new Set(filter.records.filter((record) => record && record.status.key !== "ok")
      .map((record) => record.status));
    for (const mark of marks) parts.push(element("i", {className: mark.key, textContent: mark.short ?? mark.text}), " ");
    if (sort.value) parts.push(`\n${sort.show(sort.value(filter))}`);
    return parts;
  }

  const searching = () => view.search.trim() !== "";
  // Whether the grid mixes layers, so that a number alone does not name a filter.
  const mixed = () => view.layer === null || searching();

  function chooseFilters() {
    let chosen = mixed() ? allFilters : [...filtersOfLayer[view.layer].values()].sort(byNumber);
    if (searching()) {
      const query = parseSearch(view.search);
      chosen = chosen.filter((filter) => matches(filter, query));
    }
    if (view.status !== "all") chosen = chosen.filter((filter) => hasStatus(filter, view.status));
    return sorted([...chosen], view.sort, view.reverse);
  }

  function showGrid() {
    const key = JSON.stringify([mixed() ? "all" : view.layer, view.sort, view.reverse, view.status, view.search]);
    if (key === orderKey) return;
    orderKey = key;
    order = chooseFilters();
    order.forEach((filter, place) => {
      filter.place = place;
      filter.dressed = false;  // The tile, if it has one, shows what it showed in another order.
    });
    current = 0;
    showHeading();
    scrollTo(0, 0);
    layOut();
  }

  // Wide as it is wanted; on a narrow screen so that the tiles fill it, two pairs or more in a row.
  const narrow = matchMedia("(max-width: 760px)");
  let wantedSize = 96;
  let laidOutWidth = 0;
  function layOut() {
    const width = grid.clientWidth;
    laidOutWidth = width;
    const pictures = comparing && document.body.dataset.show === "AB" ? 2 : 1;
    const between = 3 * (pictures - 1);
    let size = wantedSize;
    columns = Math.max(narrow.matches ? 2 : 1, Math.floor((width + columnGap) / (pictures * size + between + columnGap)));
    if (narrow.matches) size = Math.floor(((width - (columns - 1) * columnGap) / columns - between) / pictures);
    const picture = Math.round((size * runs[0].height) / runs[0].width);
    const caption = captionLine * (sorts[view.sort].value ? 2 : 1) + 4;
    cell = {width: pictures * size + between + columnGap, height: picture + caption + rowGap};
    grid.style.setProperty("--tile", `${size}px`);
    grid.style.setProperty("--picture", `${picture}px`);
    grid.style.setProperty("--height", `${picture + caption}px`);

    rows = [];
    let top = 0;
    const add = (row) => {
      rows.push({top, ...row});
      top += row.height;
    };
    // By number the layers follow each other: each gets a heading.
    const grouped = mixed() && view.sort === "number";
    for (let first = 0; first < order.length;) {
      const {layer} = order[first];
      if (grouped && (first === 0 || order[first - 1].layer !== layer)) {
        add({height: headingHeight, heading: layers[layer].name});
      }
      let count = Math.min(columns, order.length - first);
      if (grouped) while (order[first + count - 1].layer !== layer) --count;
      for (let i = first; i < first + count; ++i) order[i].row = rows.length;
      add({height: cell.height, first, count});
      first += count;
    }
    grid.style.height = order.length ? `${top}px` : "";
    grid.replaceChildren();
    if (order.length === 0) grid.append(element("p", {className: "nothing", textContent: "Nothing matches."}));
    fill();
  }

  const place = (made, left, top) => {
    made.style.transform = `translate(${left}px, ${top}px)`;
    return made;
  };

  function tileOf(filter) {
    filter.tile ??= makeTile(filter);
    if (!filter.dressed) {
      filter.dressed = true;
      filter.tile.href = addressOf({filter});
      filter.tile.lastChild.replaceChildren(...captionOf(filter));
    }
    filter.tile.tabIndex = filter.place === current ? 0 : -1;
    const row = rows[filter.row];
    return place(filter.tile, (filter.place - row.first) * cell.width, row.top);
  }

  // Index of the first row that ends below `height`.
  function rowBelow(height) {
    let low = 0;
    let high = rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle].top + rows[middle].height > height) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  // Puts the rows in and near sight into the document, in order, and takes the others out. What stays is not touched,
  // so that it keeps the focus.
  function fill() {
    if (order.length === 0) return;
    const top = -grid.getBoundingClientRect().top;
    const wanted = [];
    const begin = rowBelow(top - reach);
    for (let i = begin; i < rows.length && rows[i].top < top + innerHeight + reach; ++i) {
      const row = rows[i];
      if (row.heading) {
        row.element ??= place(element("h3", {textContent: row.heading}), 0, row.top);
        wanted.push(row.element);
      } else {
        for (let k = row.first; k < row.first + row.count; ++k) wanted.push(tileOf(order[k]));
      }
    }
    // The one that Tab leads to stays, wherever it is.
    const kept = tileOf(order[current]);
    if (!wanted.includes(kept)) {
      if (order[current].row < begin) wanted.unshift(kept);
      else wanted.push(kept);
    }
    const staying = new Set(wanted);
    for (const child of [...grid.children]) if (!staying.has(child)) child.remove();
    let next = grid.firstChild;
    for (const child of wanted) {
      if (child === next) next = next.nextSibling;
      else grid.insertBefore(child, next);
    }
  }

  let filling = false;
  function fillSoon() {
    if (filling) return;
    filling = true;
    requestAnimationFrame(() => {
      filling = false;
      fill();
    });
  }
  addEventListener("scroll", fillSoon, {passive: true});
  addEventListener("resize", fillSoon);
  new ResizeObserver(() => {
    if (grid.clientWidth === laidOutWidth) fillSoon();
    else layOut();
  }).observe(document.body);

  function countOf(filters, key) {
    return filters.filter((filter) => hasStatus(filter, key)).length;
  }

  function summary(filters) {
    const parts = [counted(filters.length, "filter")];
    for (const {key, text} of Object.values(statuses)) {
      const count = key === "ok" ? 0 : countOf(filters, key);
      if (count) parts.push(`${count.toLocaleString("en")} ${text}`);
    }
    const lost = countOf(filters, "lost");
    if (lost) parts.push(`${counted(lost, "picture")} lost`);
    return parts.join(", ");
  }

  function showHeading() {
    const about = byId("view-about");
    about.replaceChildren();
    if (searching()) {
      byId("view-title").textContent = `Search: ${view.search.trim()}`;
    } else if (view.layer === null) {
      byId("view-title").textContent = "All layers";
      if (!comparing) about.append(element("a", {href: "poster.png", textContent: "Poster"}));
    } else {
      const {name, inputs, filters, field} = layers[view.layer];
      byId("view-title").textContent = name;
      const maps = runs.map((run) => run.layers.find(({layer}) => layer === view.layer))
                       .filter(Boolean).map(({map}) => `${map[1]} × ${map[0]}`);
      const map = maps.length ? `, map ${[...new Set(maps)].join(" and ")}` : "";
      about.append(`${inputs} → ${filters} channels${map}; a position sees ${field} × ${field} pixels. `);
      if (!comparing && filtersOfLayer[view.layer].size > 0) {
        about.append(element("a", {href: `${address(name)}/sheet.png`, textContent: "Sheet"}), " ",
                     element("a", {href: `${address(name)}/curves.svg`, textContent: "Loss curves"}));
      }
    }
    byId("view-count").textContent = [note, summary(order)].filter(Boolean).join(" ");
  }

  function focusFilter(filter, options) {
    if (!filter || order[filter.place] !== filter) return;
    current = filter.place;
    const row = rows[filter.row];
    const top = grid.getBoundingClientRect().top + row.top;
    const covered = byId("tools").getBoundingClientRect().bottom;
    if (top < covered) scrollBy(0, top - covered - rowGap);
    else if (top + row.height > innerHeight) scrollBy(0, top + row.height - innerHeight);
    fill();
    filter.tile.focus({preventScroll: true, ...options});
  }

  // Where an arrow key leads from a filter: the nearest column of the row above or below.
  function filterBeside(filter, key) {
    switch (key) {
      case "ArrowLeft": return order[filter.place - 1];
      case "ArrowRight": return order[filter.place + 1];
      case "Home": return order[0];
      case "End": return order.at(-1);
    }
    const step = key === "ArrowDown" ? 1 : -1;
    let index = filter.row + step;
    if (rows[index]?.heading) index += step;
    const row = rows[index];
    return row && order[row.first + Math.min(filter.place - rows[filter.row].first, row.count - 1)];
  }

  grid.addEventListener("keydown", (event) => {
    const tile = event.target.closest(".tile");
    if (!tile || event.altKey || event.ctrlKey || event.metaKey) return;
    if (!["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key)) return;
    event.preventDefault();
    focusFilter(filterBeside(tile.filter, event.key));
  });
  grid.addEventListener("click", (event) => {
    if (event.target.closest(".tile") && !event.ctrlKey && !event.metaKey && !event.shiftKey) opened = true;
  });

  // ---- The large view

  const viewer = byId("viewer");
  let viewed = null;  // The filter that was last in it.

  let playing = false;  // Animations of the ascent instead of the pictures.

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
    // The neighbours, so that the arrow keys need not wait.
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
        alt: moving ? `How the picture of ${filter.name} comes about, as an animation` : `What ${filter.name} looks for`});
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
      place.textContent = !record ? "This run did not select this filter." : record.lostReason ?? record.status.why;
    }
    const caption = figure.appendChild(element("figcaption"));
    if (comparing) caption.append(element("b", {textContent: runNames[which]}), ` ${runLabel(which)} `);
    if (record && record.status.key !== "ok") {
      caption.append(element("span", {className: `mark ${record.status.key}`, textContent: record.status.text}));
      if (record.shown) caption.append(` ${record.status.why} `);
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

  function numbersTable(filter) {
    const row = (name, value) =>
      [name, filter.records.map((record) => (record ? value(record) : "–"))];
    const done = (value) => (record) => (record.status.key === "missing" ? "–" : value(record));
    const rows = [
      row("Status", (record) => [record.status.text, record.lost].filter(Boolean).join(", ")),
      row("First loss", done((record) => digits(record.first, 6))),
      row("Final loss", done((record) => digits(record.final, 6))),
      row("Gain", done((record) => gainText(record.gain))),
      row("Gradient norm", done((record) => digits(record.gradient))),
      row("Steps", done((record) => String(record.iterations))),
      row("Seed", (record) => (record.run.start ? "–" : record.run.seed)),
      row("Start", (record) => startText(record.run)),
      row("Recipe", (record) => record.run.recipe.name),
      row("Precision", (record) => record.run.precision || "–"),
      row("Hue", (record) => sorts.hue.show(record.hue === null ? null : sorts.hue.value({record}))),
      row("Contrast", (record) => digits(record.contrast, 3)),
    ];
    const all = element("div", {}, table(rows));
    const commands = new Map();  // The parts of each command and a run that it is of; each once.
    for (const record of filter.records.filter(Boolean)) {
      const parts = commandFor(filter, record);
      commands.set(parts.join(" "), {parts, run: record.run});
    }
    for (const {parts, run} of commands.values()) {
      const others = run.selectors ? ", with all others that have a start image of their own" : "";
      const which = commands.size > 1 ? `${runNames[runs.indexOf(run)]}: renders` : "Renders";
      all.append(element("p", {className: "command", textContent: run.reproducible
        ? `${which} it again${others}, to the byte on the same device:`
        : `${which} it again${others}, within rounding, since the run was not reproducible:`}));
      // An option stays with its value and is not broken at its hyphens.
      const spans = parts.flatMap((part) => [" ", element("span", {textContent: part})]);
      all.append(element("pre", {tabIndex: 0}, ...spans.slice(1)));
    }
    return all;
  }

  // What renders this filter again: the command and its filters, then the options, each with its value.
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
  // Of the document, since a button that had the focus and is disabled or hidden now leaves it to nothing.
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

  // ---- The sidebar

  // Bytes of a page from a file may not be kept everywhere; then nothing is remembered.
  function remember(name, value) {
    try {
      localStorage.setItem(`filterscope.${name}`, value);
    } catch {}
  }
  function remembered(name) {
    try {
      return localStorage.getItem(`filterscope.${name}`);
    } catch {
      return null;
    }
  }

  // The network from the image on: a slab for each layer, as high as its map and as deep as it has filters.
  function drawDiagram() {
    const width = 260;
    const height = 104;
    const middle = 48;
    const diagram = byId("diagram");
    diagram.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const thickness = layers.map(({filters}) => 2 + Math.sqrt(filters) / 2.6);
    const gaps = layers.map(({pool}) => (pool ? 8 : 3));
    const room = [...thickness, ...gaps].reduce((a, b) => a + b, 0) + 14;
    const unit = width / room;
    let left = 6 * unit;
    let side = 84;
    diagram.append(drawing("rect", {class: "image", x: unit, y: middle - side / 2, width: 2.5 * unit, height: side}),
                   drawing("text", {x: 1, y: height - 2}, "image"));
    layers.forEach((layer, index) => {
      const slab = drawing("a", {class: "slab", href: addressOf({layer: index, filter: null, search: ""}), tabindex: -1});
      if (filtersOfLayer[index].size === 0) slab.classList.add("absent");
      slab.dataset.layer = index;
      slab.append(drawing("title", {}, `${layer.name}: ${layer.filters} filters`),
                  drawing("rect", {x: left, y: middle - side / 2, width: thickness[index] * unit, height: side, rx: 1}));
      diagram.append(slab);
      left += (thickness[index] + gaps[index]) * unit;
      if (layer.pool) side *= 0.66;
    });
    diagram.append(drawing("text", {x: width - 2, y: height - 2, "text-anchor": "end"}, networkName));
  }

  function listLayers() {
    const entries = [{layer: null, name: "All layers", filters: allFilters}];
    layers.forEach(({name}, layer) => entries.push({layer, name, filters: [...filtersOfLayer[layer].values()]}));
    for (const {layer, name, filters} of entries) {
      const entry = element("li");
      const total = layer === null ? layers.reduce((sum, {filters: count}) => sum + count, 0) : layers[layer].filters;
      const count = filters.length === total ? total.toLocaleString("en") : `${filters.length.toLocaleString("en")}/${total.toLocaleString("en")}`;
      const link = element(filters.length ? "a" : "span", {className: "layer"},
        element("span", {className: "name", textContent: name}));
      const marks = link.appendChild(element("span", {className: "marks"}));
      if (filters.length) {
        link.href = addressOf({layer, filter: null, search: ""});
        for (const {key, text} of Object.values(statuses)) {
          const marked = key === "ok" ? 0 : countOf(filters, key);
          if (marked) marks.append(element("span", {className: `mark ${key}`, textContent: `${marked} ${text}`}), " ");
        }
      }
      link.append(element("span", {className: "count", textContent: filters.length ? count : "–"}));
      link.dataset.layer = layer ?? "all";
      entry.append(link);
      byId("layers").append(entry);
      if (filters.length) {
        byId("layer-select").append(element("option", {value: layer ?? "all", textContent: `${name} (${count})`}));
      }
    }
  }

  function showSidebar() {
    const current = String(view.layer ?? "all");
    for (const link of document.querySelectorAll("#layers .layer, #diagram .slab")) {
      const here = !searching() && link.dataset.layer === current;
      if (here) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
      const index = link.dataset.layer === "all" ? null : Number(link.dataset.layer);
      if (link.hasAttribute("href")) link.setAttribute("href", addressOf({layer: index, filter: null, search: ""}));
    }
    byId("layer-select").value = current;
    const link = document.querySelector("#layers [aria-current]");
    const sidebar = byId("sidebar");
    if (link && (link.offsetTop < sidebar.scrollTop || link.offsetTop + link.offsetHeight > sidebar.scrollTop + sidebar.clientHeight)) {
      sidebar.scrollTop = link.offsetTop - sidebar.clientHeight / 2;
    }
  }

  // ---- The tools

  const filled = (select, options) => {
    select.replaceChildren(...options.map(([value, text]) => element("option", {value, textContent: text})));
  };

  function showTools() {
    byId("sort").value = view.sort;
    byId("status").value = view.status;
    if (byId("search") !== document.activeElement) byId("search").value = view.search;
    byId("direction").setAttribute("aria-pressed", String(view.reverse));
    byId("direction").textContent = Boolean(sorts[view.sort].descending) !== view.reverse ? "↓" : "↑";
  }

  function setSize(pixels) {
    wantedSize = Math.min(224, Math.max(48, Number(pixels) || 0));
    byId("size").value = wantedSize;
  }

  function setUpTools() {
    filled(byId("sort"), Object.entries(sorts).map(([key, {text}]) => [key, text]));
    const choices = [["all", "all"]];
    for (const {key, text} of Object.values(statuses)) {
      const count = countOf(allFilters, key);
      if (count) choices.push([key, `${text} (${count.toLocaleString("en")})`]);
    }
    const lost = countOf(allFilters, "lost");
    if (lost) choices.push(["lost", `lost pictures (${lost.toLocaleString("en")})`]);
    filled(byId("status"), choices);

    byId("tools").addEventListener("submit", (event) => {
      event.preventDefault();
      if (searching() && order.length) {
        opened = true;
        go({filter: order[0]});
      }
    });
    byId("search").addEventListener("input", () => go({search: byId("search").value, filter: null}, {replace: true}));
    byId("sort").addEventListener("change", () => go({sort: byId("sort").value, reverse: false}, {replace: true}));
    byId("status").addEventListener("change", () => go({status: byId("status").value}, {replace: true}));
    byId("direction").addEventListener("click", () => go({reverse: !view.reverse}, {replace: true}));
    byId("layer-select").addEventListener("change", () => {
      const value = byId("layer-select").value;
      byId("search").value = "";
      go({layer: value === "all" ? null : Number(value), search: "", filter: null});
    });
    byId("size").addEventListener("input", () => {
      setSize(byId("size").value);
      layOut();
      remember("size", byId("size").value);
    });
    if (comparing) {
      byId("show-picker").hidden = false;
      filled(byId("show"), [["AB", "A and B"], ["A", "A"], ["B", "B"]]);
      byId("show").addEventListener("change", () => {
        document.body.dataset.show = byId("show").value;
        layOut();
      });
      document.body.dataset.show = "AB";
    }
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.ctrlKey || event.altKey || event.metaKey || viewer.open) return;
      if (event.target.matches("input, select, textarea")) return;
      event.preventDefault();
      byId("search").focus();
      byId("search").select();
    });
    byId("search").addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" && order.length) {
        event.preventDefault();
        focusFilter(order[0]);
      }
    });
  }

  // ---- What was made how

  const flatten = (value, name, into) => {
    if (value !== null && typeof value === "object" && !Array.isArray(value)) {
      for (const [key, member] of Object.entries(value)) flatten(member, name ? `${name} ${key}` : key, into);
    } else if (value !== null && value !== "") {
      into.set(name.replaceAll("_", " "), Array.isArray(value) ? value.join(", ") : String(value));
    }
    return into;
  };

  const startText = (run) => (run.start ?? "noise");

  const folderOf = (run) => run.folder.split("/").filter((part) => part && part !== "..").at(-1) ?? "this folder";

  function factsOf(run) {
    const {recipe} = run;
    const facts = new Map([
      ["recipe", recipe.name], ["steps", String(run.iterations)], ["size", `${run.width} × ${run.height}`],
      ["seed", run.seed], ["start", startText(run)], ["SHA-256 of the start", run.start_sha256],
      ["weights", run.weights + (run.synthetic ? " (made up, never trained)" : "")],
      ["SHA-256 of the weights", run.sha256], ["device", run.engines.join(", ")],
      ["precision", run.precision], ["reproducible", run.reproducible ? "yes" : "no"], ["started", run.started],
      ["took", run.wall_seconds === null ? "" : `${digits(run.wall_seconds, 3)} s`],
      ["complete", run.complete ? "yes" : "no"], ["version", run.version], ["command", run.commands.join("\n")],
    ]);
    const {name, size, iterations, ...rest} = recipe;
    flatten(rest, "recipe:", facts);
    return facts;
  }
  const facts = runs.map(factsOf);
  const factNames = [...new Set(facts.flatMap((one) => [...one.keys()]))];
  // What two runs of one comparison differ in, but for what always differs.
  const differences = factNames.filter((name) => comparing && facts[0].get(name) !== facts[1].get(name) &&
    !["started", "took", "command", "complete", "SHA-256 of the weights"].includes(name) &&
    !(name === "SHA-256 of the start" && facts[0].get("start") !== facts[1].get("start")));

  function runLabel(which) {
    const names = differences.length ? differences : ["recipe", runs[which].start ? "start" : "seed"];
    const short = (name, text) => name.startsWith("SHA-256") ? `${text.slice(0, 12)}…` : text;
    return `${folderOf(runs[which])}: ` +
      names.slice(0, 3).map((name) => `${name} ${short(name, facts[which].get(name) || "–")}`).join(", ");
  }

  function showAbout() {
    const name = networkName;
    document.title = comparing ? `${name}: two runs – filterscope` : `${name} – filterscope`;
    byId("title").textContent = comparing ? `What ${name}’s filters look for: two runs` : `What ${name}’s filters look for`;
    const made = runs.map((run, which) => run.synthetic && (comparing ? runNames[which] : "These pictures")).filter(Boolean);
    if (made.length) {
      byId("synthetic").hidden = false;
      byId("synthetic").textContent = comparing
        ? `Synthetic weights (${made.join(" and ")}): not pictures of a trained network`
        : "Synthetic weights: these are not pictures of a trained network";
    }
    byId("about").replaceChildren(...runs.flatMap((run, which) => {
      const text = comparing ? runLabel(which)
        : `Recipe ${run.recipe.name}, ${counted(run.iterations, "step")}, ${run.width} × ${run.height} pixels, ` +
          `${run.start ? `started from ${run.start}` : `seed ${run.seed}`}, weights ${run.weights}` + (run.complete ? "" : ". This run is not complete.");
      return [element("span", {className: `run run-${runNames[which]}`},
        ...(comparing ? [element("b", {textContent: runNames[which]}), " "] : []), text)];
    }));
    if (comparing) {
      const drawn = runs.some((run) => !run.start);
      const common = ["recipe", "steps", "size", "seed", "weights", "precision", "start"]
        .filter((fact) => !differences.includes(fact) && (fact !== "seed" || drawn));
      byId("about").append(`Both: ${common.map((fact) => `${fact} ${facts[0].get(fact) || "–"}`).join(", ")}`);
    }
    byId("facts").append(table(factNames.filter((fact) => facts.some((one) => one.get(fact)))
      .map((fact) => [fact, facts.map((one) => one.get(fact) || "–")])));
    byId("footer").textContent = `Written by filterscope ${data.version}, ${data.written}. Keys: / searches; arrows move; ` +
      "Enter opens; Escape closes.";
  }

  function setTheme(theme) {
    if (theme) document.documentElement.dataset.theme = theme;
  }
  byId("theme").addEventListener("click", () => {
    const dark = document.documentElement.dataset.theme
      ? document.documentElement.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    setTheme(dark ? "light" : "dark");
    remember("theme", dark ? "light" : "dark");
  });

  function apply() {
    readAddress();
    showSidebar();
    showTools();
    showGrid();
    showViewer();
  }

  document.body.classList.toggle("comparing", comparing);
  setTheme(remembered("theme"));
  setSize(remembered("size") ?? Math.min(112, Math.max(72, runs[0].thumbnail.width)));
  setPixels(remembered("pixels") === "1");
  readAddress();
  showAbout();
  drawDiagram();
  listLayers();
  setUpTools();
  apply();
  if (view.filter) current = view.filter.place;
  addEventListener("hashchange", apply);
})();
