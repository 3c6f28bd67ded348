// The sidebar and the tools above the grid.

// ---- The sidebar

// Not every browser gives a page from a file local storage; without it, nothing is remembered.
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

// The network, from the image on: a slab per layer, whose height shows its map and whose width its filters.
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
      for (const mark of countsByStatus(filters)) marks.append(mark, " ");
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
