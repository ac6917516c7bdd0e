// One pool, its blocks true to scale: each line of the picture is a sixteenth of the pool, so that memory is read as text is.
// Owns: that picture, and the pool that is shown. It follows an address from snapshot to snapshot, so that one sees the pool drain.

const LINES = 16;
const LINE_HEIGHT = 13;
// Between the lines of two pages.
const PAGE_GAP = 5;
const STATE_NAMES = ["allocated", "free", "untouched"];
const STATE_PARTS = [USED, SPARE, UNTOUCHED];

class PoolView {
  constructor(section, onPoint) {
    this.section = section;
    this.onPoint = onPoint;
    this.place = null;
  }

  // Shows what lies at an address in a snapshot.
  async show(process, number, snapshot, place) {
    this.place = place;
    const item = place === null || process.together > 1 ? -1 : snapshot.find(place);
    const runs = item >= 0 && snapshot.kind[item] === POOL ? await process.blockRuns(number, snapshot.ref[item]) : null;
    Object.assign(this, { process, snapshot, item, runs, canvas: null });
    const title = element("h2", {}, "Blocks of a pool");
    if (process.together > 1) {
      this.section.replaceChildren(title, element("p", { className: "note" }, "The heap is too large for this page to have its single pools."));
    } else if (place === null) {
      this.section.replaceChildren(title, element("p", { className: "note" }, "Choose a pool on the map (click, or Enter on the cell in focus) to see its blocks."));
    } else if (item < 0) {
      this.section.replaceChildren(title, element("p", {}, element("code", {}, address(place)), ": no arena is mapped there at this time."));
    } else {
      this.fill();
    }
  }

  fill() {
    const { snapshot, item } = this;
    const [name, where, ...rest] = snapshot.describe(item);
    const parts = [element("h2", {}, name), element("p", { className: "note" }, where)];
    for (const line of rest) parts.push(element("p", {}, line));
    if (snapshot.kind[item] === POOL && this.runs) {
      this.blocks = [];
      for (const [state, length] of this.runs) for (let left = length; left > 0; left -= 1) this.blocks.push(state);
      this.focused = 0;
      this.canvas = element("canvas", { id: "blocks", tabIndex: 0 });
      this.canvas.setAttribute("role", "application");
      this.canvas.setAttribute("aria-label", "Blocks of the pool in order of address. Arrow keys move from block to block.");
      this.status = element("p", { className: "note" });
      this.status.setAttribute("aria-live", "polite");
      const text = this.runs.map(([state, length]) => `${count(length)} ${STATE_NAMES[state]}`).join(", ");
      parts.push(
        this.canvas, this.status, this.swatches(),
        element("details", {}, element("summary", {}, "As text, in order of address"), element("p", { id: "runs" }, text)),
      );
      this.listen();
    } else if (snapshot.kind[item] === POOL) {
      parts.push(element("p", { className: "note" }, "The states of its blocks are not in this snapshot."));
    }
    this.section.replaceChildren(...parts);
    this.draw();
  }

  swatches() {
    const { colours } = this.process;
    const colour = colours[isDark() ? "dark" : "light"][this.number()];
    const made = STATE_NAMES.map((name, state) => element("span", {}, swatch((context) => {
      context.globalAlpha = STATE_PARTS[state];
      context.fillStyle = colour;
      context.fillRect(0, 0, 16, 14);
    }), name));
    made.push(element("span", {}, swatch((context) => {
      gone(context, style("card"), hatch(context, colour), 0, 0, 16, 14);
    }), "page not resident"));
    return element("div", { className: "swatches" }, ...made);
  }

  number() {
    return this.snapshot.pools.class[this.snapshot.ref[this.item]];
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointermove", (event) => {
      const block = this.hit(event);
      this.onPoint(block < 0 ? null : this.describe(block), event.clientX, event.clientY);
    });
    canvas.addEventListener("pointerleave", () => this.onPoint(null));
    canvas.addEventListener("focus", () => this.focus(this.focused));
    canvas.addEventListener("blur", () => this.draw());
    canvas.addEventListener("keydown", (event) => {
      const [size] = this.process.classes[this.number()];
      const line = Math.max(Math.round(this.lineBytes / size), 1);
      const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: line, ArrowUp: -line, Home: -Infinity, End: Infinity };
      if (!(event.key in steps)) return;
      event.preventDefault();
      this.focus(this.focused + steps[event.key]);
    });
  }

  focus(block) {
    this.focused = Math.min(Math.max(block, 0), this.blocks.length - 1);
    this.status.textContent = this.describe(this.focused).join("; ");
    this.draw();
  }

  describe(block) {
    const { process, snapshot, item } = this;
    const [size] = process.classes[this.number()];
    const from = block * size, to = from + size - 1;
    const [first] = snapshot.pagesOf(item);
    const lead = (snapshot.col[item] * process.slot) % process.page;
    const page = Math.floor((lead + from) / process.page), last = Math.floor((lead + to) / process.page);
    let resident = true;
    for (let one = page; one <= last; one += 1) resident = resident && snapshot.isResident(snapshot.row[item], first + one);
    return [
      `Block ${count(block)} of ${count(size)} bytes at ${address(snapshot.at(item) + from)}: ${STATE_NAMES[this.blocks[block]]}`,
      `${page === last ? `page ${page + 1}` : `pages ${page + 1} to ${last + 1}`} of the pool, ${resident ? "resident" : "not all resident"}`,
    ];
  }

  // Calls `visit` with each rectangle of the bytes from `from` to `to`.
  pieces(from, to, visit) {
    while (from < to) {
      const line = Math.floor(from / this.lineBytes);
      const end = Math.min((line + 1) * this.lineBytes, to);
      visit((from - line * this.lineBytes) * this.perByte, this.top(line), (end - from) * this.perByte, end === to);
      from = end;
    }
  }

  top(line) {
    const { page } = this.process;
    return line * LINE_HEIGHT + (this.lineBytes < page ? Math.floor((line * this.lineBytes) / page) * PAGE_GAP : 0);
  }

  draw() {
    const { canvas, process, snapshot, item } = this;
    if (!canvas) return;
    const number = this.number();
    const [size, , slots] = process.classes[number];
    const total = slots * process.slot;
    const width = Math.max(this.section.clientWidth - 26, 200);
    this.lineBytes = total / LINES;
    this.perByte = width / this.lineBytes;
    const context = fitted(canvas, width, this.top(LINES - 1) + LINE_HEIGHT);
    const height = LINE_HEIGHT - 2;
    const colour = process.colours[isDark() ? "dark" : "light"][number];
    context.fillStyle = colour;
    this.blocks.forEach((state, block) => {
      context.globalAlpha = STATE_PARTS[state];
      this.pieces(block * size, (block + 1) * size, (x, y, wide, isEnd) => context.fillRect(x, y, isEnd ? Math.max(wide - 1, 1) : wide, height));
    });
    const [first, end] = snapshot.pagesOf(item);
    const lead = (snapshot.col[item] * process.slot) % process.page;
    const lines = hatch(context, colour);
    for (let page = first; page < end; page += 1) {
      if (snapshot.isResident(snapshot.row[item], page)) continue;
      const from = (page - first) * process.page - lead;
      this.pieces(Math.max(from, 0), Math.min(from + process.page, total), (x, y, wide) => gone(context, style("card"), lines, x, y, wide, height));
    }
    if (document.activeElement === canvas) {
      context.globalAlpha = 1;
      context.strokeStyle = style("text");
      context.lineWidth = 2;
      this.pieces(this.focused * size, (this.focused + 1) * size, (x, y, wide) => context.strokeRect(x + 1, y, Math.max(wide - 2, 2), height));
    }
  }

  hit(event) {
    const box = this.canvas.getBoundingClientRect();
    const y = event.clientY - box.top;
    let line = LINES - 1;
    while (line > 0 && this.top(line) > y) line -= 1;
    const offset = line * this.lineBytes + Math.max(event.clientX - box.left, 0) / this.perByte;
    const block = Math.floor(offset / this.process.classes[this.number()][0]);
    return block < this.blocks.length ? block : -1;
  }
}

// A small picture for a legend.
function swatch(paint) {
  const canvas = element("canvas");
  canvas.setAttribute("aria-hidden", "true");
  paint(fitted(canvas, 16, 14));
  return canvas;
}
