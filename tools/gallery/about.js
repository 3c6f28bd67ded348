// How the pictures were made, and the theme.

const flatten = (value, name, into) => {
  const isList = Array.isArray(value) && !value.some((element) => element !== null && typeof element === "object");
  if (value !== null && typeof value === "object" && !isList) {
    for (const [key, member] of Object.entries(value)) flatten(member, name ? `${name} ${key}` : key, into);
  } else if (value !== null && value !== "") {
    into.set(name.replaceAll("_", " "), isList ? value.join(", ") : String(value));
  }
  return into;
};

const startText = (run) => (run.start ?? "noise");

function factsOf(run) {
  const {recipe} = run;
  const facts = new Map([
    ["recipe", recipe.name], ["steps", String(run.iterations)], ["size", `${run.width} × ${run.height}`],
    ["rescue", run.rescue ? "on" : "off"],
    ["seed", run.seed], ["start", startText(run)], ["SHA-256 of the start", run.start_sha256],
    ["weights", run.weights + (run.synthetic ? " (made up, never trained)" : "")],
    ["SHA-256 of the weights", run.sha256], ["device", run.engines.join(", ")],
    ["precision", run.precision], ["reproducible", run.reproducible ? "yes" : "no"], ["started", run.started],
    ["took", run.wall_seconds === null ? "" : `${digits(run.wall_seconds, 3)} s`],
    ["complete", run.complete ? "yes" : "no"], ["version", run.version], ["command", run.commands.join("\n")],
  ]);
  const {name, stages, ...rest} = recipe;
  flatten(rest, "recipe:", facts);
  if (stages.length === 1) {
    const {size, iterations, objective: {rescue, ...objective}, ...stage} = stages[0];
    flatten({...stage, objective}, "recipe:", facts);
  } else {
    stages.forEach((stage, i) => flatten(stage, `recipe, stage ${i + 1}:`, facts));
  }
  return facts;
}
const facts = runs.map(factsOf);
const factNames = [...new Set(facts.flatMap((one) => [...one.keys()]))];
// The facts in which two compared runs differ, except those that always do.
const differences = factNames.filter((name) => comparing && facts[0].get(name) !== facts[1].get(name) &&
  !["started", "took", "command", "complete", "SHA-256 of the weights"].includes(name) &&
  !(name === "SHA-256 of the start" && facts[0].get("start") !== facts[1].get("start")));

function runLabel(which) {
  const names = differences.length ? differences : ["recipe", runs[which].start ? "start" : "seed"];
  const short = (name, text) => name.startsWith("SHA-256") ? `${text.slice(0, 12)}…` : text;
  return `${runs[which].name}: ` +
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
  const rescued = countOf(allFilters, "rescued");
  if (rescued) {
    const mark = element("span", {className: "mark rescued", textContent: `${counted(rescued, "filter")} rescued`});
    byId("about").append(element("span", {className: "note"}, mark,
      ": while no position of a filter’s map was above zero, the map before its ReLU was climbed instead."));
  }
  byId("facts").append(table(factNames.filter((fact) => facts.some((one) => one.get(fact)))
    .map((fact) => [fact, facts.map((one) => one.get(fact) || "–")])));
  for (const recipe of new Set(runs.map((run) => JSON.stringify(run.recipe, null, 2)))) {
    byId("facts").append(element("details", {className: "recipe"},
      element("summary", {textContent: `Recipe ${JSON.parse(recipe).name} as JSON, for --recipe FILE`}),
      element("pre", {textContent: recipe})));
  }
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
