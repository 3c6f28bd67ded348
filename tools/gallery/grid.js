// The grid of small pictures.

// Only the rows in view or near it are in the document, so thousands of filters cost no more than dozens. All tiles have
// the same size, so their places are known without asking the browser.
const grid = byId("grid");
const columnGap = 10;
const rowGap = 8;
const headingHeight = 44;
const captionLine = 16;
const reach = 1000;  // Pixels above and below the window that are kept in the document.
let order = [];       // The filters of the grid; each knows its place in it.
let orderKey = null;  // What `order` was made from.
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
    picture.title = record.lostReason ?? record.why ?? "";
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
  const marked = filter.records.filter((record) => record && record.status.key !== "ok" && !record.status.quiet);
  for (const mark of new Set(marked.map((record) => record.status))) {
    const made = element("i", {className: mark.key, textContent: mark.short ?? mark.text});
    const having = marked.filter((record) => record.status === mark);
    if (comparing && having.length === 1) made.dataset.run = runNames[runs.indexOf(having[0].run)];
    parts.push(made, " ");
  }
  if (sort.value) parts.push(`\n${sort.show(sort.value(filter))}`);
  return parts;
}

const searching = () => view.search.trim() !== "";
// Whether the grid mixes layers, so that a number alone does not identify a filter.
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
    filter.dressed = false;  // Its tile, if it has one, still has the caption of another order.
  });
  current = 0;
  showHeading();
  scrollTo(0, 0);
  layOut();
}

// Tiles have the wanted size; on a narrow screen they fill it, with at least two pictures or pairs in a row.
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
  // Sorted by number, the layers follow each other, and each gets a heading.
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

// The index of the first row that ends below `height`.
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

// Puts the rows in view or near it into the document, in order, and removes the others. Rows that stay are not touched,
// so that they keep the focus.
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
  // The tile that Tab leads to always stays.
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

// The number of filters of each status except ok, as elements.
function countsByStatus(filters) {
  return Object.values(statuses).flatMap(({key, text}) => {
    const count = key === "ok" ? 0 : countOf(filters, key);
    return count ? [element("span", {className: `mark ${key}`, textContent: `${count.toLocaleString("en")} ${text}`})] : [];
  });
}

function summary(filters) {
  const parts = [counted(filters.length, "filter"), ...countsByStatus(filters)];
  const lost = countOf(filters, "lost");
  if (lost) parts.push(`${counted(lost, "picture")} lost`);
  return parts.flatMap((part, i) => (i ? [", ", part] : [part]));
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
  byId("view-count").replaceChildren(...(note ? [note, " "] : []), ...summary(order));
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

// The filter that a key leads to; up and down lead to the nearest column of the next row.
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
