// Wires the parts together. Owns: which process, snapshot, order and theme are shown.
// The root's `data-ready` is the number of drawings so far, for whoever tests the page.

const page = { processes: [], process: null, number: 0, snapshot: null };

function fail(problem) {
  byId("problem").textContent = `This page cannot be drawn: ${problem}`;
  byId("problem").hidden = false;
}
window.addEventListener("error", (event) => fail(event.message));
window.addEventListener("unhandledrejection", (event) => fail(event.reason));

function tip(lines, x, y) {
  const box = byId("tip");
  box.hidden = lines === null;
  if (lines === null) return;
  box.textContent = lines.join("\n");
  const { width, height } = box.getBoundingClientRect();
  box.style.left = `${Math.max(Math.min(x + 14, window.innerWidth - width - 6), 4)}px`;
  box.style.top = `${y + 18 + height > window.innerHeight ? y - height - 10 : y + 18}px`;
}

const map = new HeapMap({
  scroller: byId("scroller"), sheet: byId("sheet"), canvas: byId("map"), ring: byId("ring"),
  onPoint: (item, x, y) => tip(item < 0 ? null : page.snapshot.describe(item), x, y),
  onFocus: (item) => {
    byId("focused").textContent = item < 0 ? "No arena is mapped here at this time." : page.snapshot.describe(item).join("; ");
  },
  onOpen: (item) => pool.show(page.process, page.number, page.snapshot, page.snapshot.at(item)),
});
const pool = new PoolView(byId("pool"), tip);
const past = new History(showSnapshot);
const classes = new ClassTable((number) => {
  map.highlight = number;
  map.draw();
});
const arenaTable = new Table(byId("arenas").querySelector("table"), ARENA_COLUMNS);
const mappingTable = new Table(byId("mappings").querySelector("table"), MAPPING_COLUMNS, { order: 1, descending: true });

async function showSnapshot(number) {
  const { process } = page;
  const snapshot = await process.snapshot(number);
  // Another was asked for meanwhile.
  if (page.process !== process) return;
  Object.assign(page, { number, snapshot });
  tellAbout(process, number);
  past.show(number, snapshot.head);
  byId("verdict").textContent = verdict(snapshot.head, process.line);
  figures(snapshot.head);
  classes.show(process, snapshot.head.totals);
  drawMap();
  showDetails();
  await pool.show(process, number, snapshot, pool.place);
  const { dataset } = document.documentElement;
  dataset.ready = +(dataset.ready || 0) + 1;
}

// The bases of all arenas that ever are, for the order by address: from the top down, as the system hands addresses out.
function places() {
  if (byId("order").value !== "address" || !page.process.places) return null;
  let base = 0;
  return page.process.places.map((step) => (base += step)).reverse();
}

function drawMap() {
  if (map.scale === null) map.chooseScale(page.process.most, page.snapshot.slots);
  map.show(page.snapshot, places());
  // The cursor follows the pool whose blocks are shown.
  map.markItem(pool.place === null || page.process.together > 1 ? -1 : page.snapshot.find(pool.place));
}

function showDetails() {
  const { process, snapshot } = page;
  byId("arenas").hidden = process.together > 1;
  byId("mappings").hidden = snapshot.head.mappings.length === 0;
  if (byId("arenas").open && process.together === 1) arenaTable.fill(arenaRows(snapshot));
  if (byId("mappings").open) mappingTable.fill(snapshot.head.mappings);
}

// Which process, and the date and the time of what is shown.
function tellAbout(process, number) {
  const when = new Date(process.times[number] * 1000);
  byId("about").textContent = `${process.command}, process ${process.pid}, ${when.toLocaleString()}, pymalloc ${process.version}`;
}

// Of a single process its last snapshot. Of several most have ended, and left an empty heap at last: the one with most resident.
function firstShown(process) {
  return page.processes.length === 1 ? process.times.length - 1 : process.fullest;
}

async function showProcess(process) {
  page.process = process;
  pool.place = null;
  map.scale = null;
  map.highlight = classes.chosen = 0;
  byId("order").disabled = !process.places || process.times.length < 2;
  byId("order").closest("label").hidden = byId("order").disabled;
  byId("order").value = "usable";
  const arenas = [
    `An arena is ${bytes(process.arena)} in ${process.arena / process.slot} slots of ${bytes(process.slot)}; a page is ${bytes(process.page)}.`,
    "In use, free and untouched count blocks; of a pool that a thread is just allocating from all blocks that were carved may count as in use.",
  ];
  byId("left-out").replaceChildren(...process.notes.map((note) => element("p", {}, note)));
  byId("notes").replaceChildren(...arenas.map((note) => element("p", {}, note)));
  past.start(process);
  legend();
  await showSnapshot(firstShown(process));
}

function legend() {
  const { process } = page;
  const colours = process.colours[isDark() ? "dark" : "light"];
  const sizes = process.classes.map(([size]) => size);
  const middle = colours[Math.min(12, colours.length - 1)];
  const entry = (picture, text) => element("span", {}, picture, text);
  const ramp = element("canvas");
  ramp.setAttribute("aria-hidden", "true");
  const context = fitted(ramp, 132, 14);
  const [low, high] = [Math.log2(sizes[1]), Math.log2(sizes[sizes.length - 1])];
  for (let x = 0; x < 132; x += 1) {
    const size = 2 ** (low + (x / 132) * (high - low));
    context.fillStyle = colours[Math.max(sizes.findIndex((one) => one >= size), 1)];
    context.fillRect(x, 0, 1.5, 14);
  }
  const solid = (colour) => swatch((one) => {
    one.fillStyle = colour;
    one.fillRect(0, 0, 16, 14);
  });
  const gauge = swatch((one) => {
    one.fillStyle = middle;
    for (const [part, top] of [[UNTOUCHED, 0], [SPARE, 4], [USED, 9]]) {
      one.clearRect(0, top, 16, 14 - top);
      one.globalAlpha = part;
      one.fillRect(0, top, 16, 14 - top);
    }
  });
  const scratched = swatch((one) => {
    gone(one, style("card"), hatch(one, middle), 0, 0, 16, 14);
  });
  const outline = (fill) => swatch((one) => {
    one.fillStyle = style("dirty");
    if (fill) one.fillRect(0, 0, 16, 14);
    one.strokeStyle = style("empty");
    one.strokeRect(0.5, 0.5, 15, 13);
  });
  byId("legend").replaceChildren(
    entry(ramp, `blocks of ${shortSize(sizes[1])} to ${shortSize(sizes[sizes.length - 1])} bytes`),
    entry(gauge, "in use, free, untouched"),
    entry(scratched, "page not resident"),
    entry(outline(true), "free slot, resident"),
    entry(outline(false), "free slot, not resident"),
    entry(solid(style("large")), "large block"),
    entry(solid(style("header")), "headers"),
  );
}

function redraw() {
  legend();
  map.draw();
  classes.show(page.process, page.snapshot.head.totals);
  pool.show(page.process, page.number, page.snapshot, pool.place);
}

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("theme").textContent = dark ? "Light" : "Dark";
}

// Returns the process to show first: the one that ever had most resident.
function wire() {
  byId("theme").textContent = isDark() ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", "Change between a light and a dark page");
  byId("theme").addEventListener("click", () => {
    setTheme(!isDark());
    redraw();
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    byId("theme").textContent = isDark() ? "Light" : "Dark";
    redraw();
  });
  byId("order").addEventListener("change", drawMap);
  byId("smaller").addEventListener("click", () => map.zoom(-1));
  byId("larger").addEventListener("click", () => map.zoom(1));
  byId("arenas").addEventListener("toggle", showDetails);
  byId("mappings").addEventListener("toggle", showDetails);
  window.addEventListener("resize", () => pool.draw());
  window.addEventListener("keydown", (event) => event.key === "Escape" && tip(null));
  let before;
  window.addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    map.paper = true;
    map.layout();
    redraw();
  });
  window.addEventListener("afterprint", () => {
    if (before) document.documentElement.dataset.theme = before;
    else delete document.documentElement.dataset.theme;
    map.paper = false;
    map.layout();
    redraw();
  });
  const select = byId("process");
  select.append(...page.processes.map(({ pid, command, highest }, index) => element("option", { value: index }, `${pid} ${command}, ${bytes(highest)}`)));
  byId("choose").hidden = page.processes.length < 2;
  select.addEventListener("change", () => showProcess(page.processes[select.value]));
  const first = page.processes.reduce((fullest, process) => (process.highest > fullest.highest ? process : fullest));
  select.value = page.processes.indexOf(first);
  return first;
}

async function begin() {
  if (typeof DecompressionStream === "undefined") {
    fail("this browser has no DecompressionStream (Chrome 80, Firefox 113 and Safari 16.4 have it)");
    return;
  }
  page.processes = await processes();
  document.querySelector("main").hidden = false;
  await showProcess(wire());
}
begin();
