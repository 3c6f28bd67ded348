// Fills the page, and fills it again whenever the address changes.

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
