// The map of all arenas, on one canvas that is as large as the window onto it: what is scrolled out is not drawn.
// Owns: where a cell is on the screen, the cursor, and how each kind of cell looks.

// Cell widths to choose from, pixels.
const SCALES = [2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 20, 24, 28, 34, 40];
// From this cell width on an arena's address stands before it, so wide.
const LABEL_FROM = 8, LABEL = 92;
const BETWEEN = 12;
// How much of its colour a block's state has: in use, free, untouched.
const USED = 1, SPARE = 0.4, UNTOUCHED = 0.14;
// Of the lines on a page that is not resident, and of a page that is too narrow for lines.
const GONE = 0.5, GONE_NARROW = 0.12;
// What is not of the chosen class.
const DIMMED = 0.16;
// From this cell width on a pool is filled like a gauge; below, it is only paler.
const GAUGE_FROM = 5;
const TEXT_FROM = 20;
// The most that is drawn on paper, pixels.
const PAPER = 6000;

// Height of a row and its distance to the next.
function rowHeights(cell) {
  const height = Math.round(1.25 * cell) + 1;
  return [height, height + Math.max(Math.round(cell / 4), 1)];
}

// Thin diagonal lines of a colour: how a page that is not resident looks.
function hatch(context, colour) {
  const tile = element("canvas", { width: 5, height: 5 });
  const lines = tile.getContext("2d");
  lines.strokeStyle = colour;
  lines.lineWidth = 1.1;
  lines.beginPath();
  for (const shift of [-5, 0, 5]) {
    lines.moveTo(shift - 1, 6);
    lines.lineTo(shift + 6, -1);
  }
  lines.stroke();
  return context.createPattern(tile, "repeat");
}

// Draws such lines, or a plain colour, in place of what was there.
function gone(context, behind, lines, x, y, width, height, strength = 1) {
  context.globalAlpha = 1;
  context.fillStyle = behind;
  context.fillRect(x, y, width, height);
  context.globalAlpha = strength * (typeof lines === "string" ? GONE_NARROW : GONE);
  context.fillStyle = lines;
  context.fillRect(x, y, width, height);
}

// The canvas's context in CSS pixels, cleared, with the canvas that large.
function fitted(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

class HeapMap {
  constructor({ scroller, sheet, canvas, ring, onPoint, onFocus, onOpen }) {
    Object.assign(this, { scroller, sheet, canvas, ring, onPoint, onFocus, onOpen });
    this.scale = null;
    this.cursor = [0, 0];
    this.highlight = 0;
    this.paper = false;
    scroller.addEventListener("scroll", () => this.draw(), { passive: true });
    canvas.addEventListener("pointermove", (event) => this.point(event));
    canvas.addEventListener("pointerleave", () => onPoint(-1));
    canvas.addEventListener("click", (event) => {
      const item = this.hit(event);
      if (item < 0) return;
      this.moveTo(this.lineOf[this.snapshot.row[item]], this.snapshot.col[item]);
      onOpen(item);
    });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("focus", () => this.moveTo(...this.cursor));
    new ResizeObserver(() => this.layout()).observe(scroller);
  }

  // `places`, when given, are the bases of all arenas that ever are: each keeps its line.
  show(snapshot, places) {
    this.snapshot = snapshot;
    this.lineOf = new Int32Array(snapshot.rows);
    if (places) {
      const line = new Map(places.map((base, index) => [base, index]));
      this.rowOf = new Int32Array(places.length).fill(-1);
      snapshot.bases.forEach((base, row) => {
        this.lineOf[row] = line.get(base);
        this.rowOf[line.get(base)] = row;
      });
    } else {
      this.rowOf = Int32Array.from(this.lineOf, (_, row) => row);
      this.lineOf = this.rowOf;
    }
    this.places = places;
    this.layout();
  }

  // The largest scale at which all lines of the tallest snapshot fit into the window, or the smallest.
  chooseScale(lines, slots) {
    const width = this.scroller.clientWidth - 20;
    const height = Math.max(420, 0.72 * window.innerHeight);
    this.scale = 0;
    SCALES.forEach((cell, scale) => {
      const one = (cell < LABEL_FROM ? 0 : LABEL) + slots * cell;
      const [, pitch] = rowHeights(cell);
      const across = Math.floor((width + BETWEEN) / (one + BETWEEN));
      if (across >= 1 && Math.ceil(lines / across) * pitch <= height) this.scale = scale;
    });
  }

  zoom(step) {
    this.scale = Math.min(Math.max(this.scale + step, 0), SCALES.length - 1);
    this.layout();
    if (!this.ring.hidden) this.moveTo(...this.cursor);
  }

  layout() {
    if (!this.snapshot || this.scale === null) return;
    this.cell = SCALES[this.scale];
    this.label = this.cell < LABEL_FROM ? 0 : LABEL;
    [this.height, this.pitch] = rowHeights(this.cell);
    this.lines = this.rowOf.length;
    this.one = this.label + this.snapshot.slots * this.cell;
    const room = this.paper ? 1000 : this.scroller.clientWidth - 20;
    this.across = Math.max(Math.floor((room + BETWEEN) / (this.one + BETWEEN)), 1);
    this.width = Math.min(this.across, Math.max(this.lines, 1)) * (this.one + BETWEEN) - BETWEEN;
    this.tall = Math.max(Math.ceil(this.lines / this.across), 1) * this.pitch;
    this.sheet.style.width = `${this.width}px`;
    this.sheet.style.height = `${this.paper ? Math.min(this.tall, PAPER) : this.tall}px`;
    this.draw();
  }

  // Where an arena's line starts on the sheet.
  origin(line) {
    return [(line % this.across) * (this.one + BETWEEN), Math.floor(line / this.across) * this.pitch];
  }

  draw() {
    if (!this.snapshot) return;
    const { scroller } = this;
    const width = this.paper ? this.width : Math.min(scroller.clientWidth - 16, this.width);
    const height = this.paper ? Math.min(this.tall, PAPER) : Math.min(scroller.clientHeight || this.tall, this.tall);
    const context = fitted(this.canvas, width, height);
    const left = this.paper ? 0 : Math.min(scroller.scrollLeft, this.width - width);
    const top = this.paper ? 0 : Math.min(scroller.scrollTop, this.tall - height);
    context.translate(-Math.max(left, 0), -Math.max(top, 0));
    this.context = context;
    this.look = this.looks();
    this.hatches = new Map();
    const first = Math.floor(Math.max(top, 0) / this.pitch) * this.across;
    const end = Math.min(Math.ceil((Math.max(top, 0) + height) / this.pitch) * this.across, this.lines);
    for (let line = first; line < end; line += 1) this.drawLine(line);
  }

  looks() {
    const look = { colours: this.snapshot.process.colours[isDark() ? "dark" : "light"] };
    for (const name of ["card", "empty", "dirty", "large", "header", "quiet"]) look[name] = style(name);
    return look;
  }

  hatch(colour) {
    if (this.cell < GAUGE_FROM) return colour;
    if (!this.hatches.has(colour)) this.hatches.set(colour, hatch(this.context, colour));
    return this.hatches.get(colour);
  }

  drawLine(line) {
    const { context, snapshot, look } = this;
    const [x, y] = this.origin(line);
    const row = this.rowOf[line];
    if (this.label) {
      const merged = snapshot.process.together > 1;
      const base = row < 0 ? this.places[line] * snapshot.process.arena : snapshot.at(snapshot.rowStart[row]);
      context.globalAlpha = row < 0 ? 0.45 : 1;
      context.fillStyle = look.quiet;
      context.font = "11px ui-monospace, 'DejaVu Sans Mono', Menlo, monospace";
      context.textBaseline = "middle";
      context.fillText(base.toString(16) + (merged ? "…" : ""), x, y + this.height / 2 + 0.5);
    }
    if (row < 0) {
      context.globalAlpha = 0.55;
      context.fillStyle = look.empty;
      context.fillRect(x + this.label, y + this.height / 2 - 0.5, snapshot.slots * this.cell, 1);
      return;
    }
    for (let item = snapshot.rowStart[row]; item < snapshot.rowStart[row + 1]; item += 1) this.drawItem(item, x + this.label, y);
  }

  drawItem(item, left, y) {
    const { context, snapshot, cell, height, look } = this;
    const gap = cell >= GAUGE_FROM ? 1 : 0;
    const x = left + snapshot.col[item] * cell;
    const width = snapshot.span[item] * cell - gap;
    const kind = snapshot.kind[item];
    const ref = snapshot.ref[item];
    const number = kind === POOL ? snapshot.pools.class[ref] : kind === MERGED ? snapshot.merged.class[ref] : 0;
    const strength = this.highlight && this.highlight !== number ? DIMMED : 1;
    if (kind === MERGED) {
      this.drawMerged(ref, x, y, width, strength);
      return;
    }
    if (kind === FREE) {
      this.drawFree(item, x, y, width, strength);
      return;
    }
    const colour = kind === POOL ? look.colours[number] : kind === HEADER ? look.header : look.large;
    if (kind === POOL) {
      const blocks = snapshot.process.classes[number][1];
      this.gauge(x, y, width, colour, snapshot.pools.inUse[ref] / blocks, snapshot.pools.free[ref] / blocks, strength);
    } else {
      context.globalAlpha = strength;
      context.fillStyle = colour;
      context.fillRect(x, y, width, height);
    }
    this.hatchPages(item, x, y, width, colour, strength);
    if (cell >= TEXT_FROM && kind !== HEADER) this.write(kind === POOL ? shortSize(snapshot.process.classes[number][0]) : "large", x, y, width);
  }

  // From below: in use, free, untouched.
  gauge(x, y, width, colour, used, free, strength) {
    const { context, cell, height } = this;
    context.fillStyle = colour;
    if (cell < GAUGE_FROM) {
      context.globalAlpha = strength * (USED * used + SPARE * free + UNTOUCHED * (1 - used - free));
      context.fillRect(x, y, width, height);
      return;
    }
    context.globalAlpha = strength * UNTOUCHED;
    context.fillRect(x, y, width, height);
    // One block in use is seen, however many are free.
    const full = used > 0 ? Math.max(used * height, 1.5) : 0;
    context.globalAlpha = strength * SPARE;
    context.fillRect(x, y + height - Math.min(full + free * height, height), width, Math.min(free * height, height - full));
    context.globalAlpha = strength * USED;
    context.fillRect(x, y + height - full, width, full);
  }

  // A free slot is an outline; what of it is resident is filled.
  drawFree(item, x, y, width, strength) {
    const { context, snapshot, cell, height, look } = this;
    context.globalAlpha = strength;
    const [resident, pages] = snapshot.residentPages(item);
    context.fillStyle = resident ? look.dirty : look.empty;
    if (resident) context.fillRect(x, y + height * (1 - resident / pages), width, (height * resident) / pages);
    if (cell >= GAUGE_FROM) {
      context.strokeStyle = look.empty;
      context.lineWidth = 1;
      context.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
    } else if (!resident) {
      context.globalAlpha = strength * 0.6;
      context.fillRect(x, y + height - 1, width, 1);
    }
  }

  drawMerged(ref, x, y, width, strength) {
    const { context, snapshot, height, look } = this;
    const { class: classes, pools, large, used, resident } = snapshot.merged;
    const high = (pools[ref] / 255) * height;
    const other = (large[ref] / 255) * height;
    if (high + other < height) {
      context.globalAlpha = strength * 0.6;
      context.fillStyle = look.empty;
      context.fillRect(x, y, width, 1);
    }
    context.globalAlpha = strength;
    context.fillStyle = look.large;
    context.fillRect(x, y + height - high - other, width, other);
    context.globalAlpha = strength * (UNTOUCHED + ((USED - UNTOUCHED) * used[ref]) / 255);
    context.fillStyle = look.colours[classes[ref]];
    context.fillRect(x, y + height - high, width, high);
    const part = width * (1 - resident[ref] / 255);
    const colour = classes[ref] ? look.colours[classes[ref]] : look.large;
    if (high + other > 0 && part >= 1) gone(context, look.card, this.hatch(colour), x + width - part, y, part, height, strength);
  }

  // Pages lie side by side in a cell, neighbours that are not resident in one hatched piece.
  hatchPages(item, x, y, width, colour, strength) {
    const { context, snapshot, height, look } = this;
    const [first, end] = snapshot.pagesOf(item);
    const row = snapshot.row[item];
    const page = width / (end - first);
    for (let start = first; start < end; start += 1) {
      let stop = start;
      while (stop < end && !snapshot.isResident(row, stop)) stop += 1;
      if (stop > start) gone(context, look.card, this.hatch(colour), x + (start - first) * page, y, (stop - start) * page, height, strength);
      start = stop;
    }
  }

  // Centred, on a strip of the page's colour so that it is readable on any fill.
  write(text, x, y, width) {
    const { context, height, look } = this;
    context.font = "10px system-ui, sans-serif";
    context.textBaseline = "middle";
    const long = context.measureText(text).width;
    if (long + 4 > width) return;
    context.globalAlpha = 0.85;
    context.fillStyle = look.card;
    context.fillRect(x + (width - long) / 2 - 2, y + height / 2 - 6, long + 4, 12);
    context.globalAlpha = 1;
    context.fillStyle = style("text");
    context.fillText(text, x + (width - long) / 2, y + height / 2 + 0.5);
  }

  // The item under the pointer, or -1.
  hit(event) {
    const box = this.sheet.getBoundingClientRect();
    const x = event.clientX - box.left;
    const y = event.clientY - box.top;
    const across = Math.floor(x / (this.one + BETWEEN));
    const line = Math.floor(y / this.pitch) * this.across + across;
    const col = Math.floor((x - across * (this.one + BETWEEN) - this.label) / this.cell);
    if (across >= this.across || col < 0 || col >= this.snapshot.slots) return -1;
    return this.itemAt(line, col);
  }

  itemAt(line, col) {
    const row = line >= 0 && line < this.lines ? this.rowOf[line] : -1;
    return row < 0 ? -1 : this.snapshot.grid[row * this.snapshot.slots + col];
  }

  point(event) {
    this.onPoint(this.hit(event), event.clientX, event.clientY);
  }

  // Puts the cursor on a cell without scrolling. Returns where on the sheet that is, and the item.
  mark(line, col) {
    const item = this.itemAt(line, col);
    const span = item < 0 ? 1 : this.snapshot.span[item];
    const first = item < 0 ? col : this.snapshot.col[item];
    this.cursor = [line, first];
    const [x, y] = this.origin(line);
    const left = x + this.label + first * this.cell;
    Object.assign(this.ring.style, {
      left: `${left - 3}px`, top: `${y - 3}px`, width: `${span * this.cell + 5}px`, height: `${this.height + 6}px`,
    });
    return [left, y, item];
  }

  // The same for an item, or for none (-1), in whatever line it is now.
  markItem(item) {
    this.ring.hidden = item < 0;
    if (item >= 0) this.mark(this.lineOf[this.snapshot.row[item]], this.snapshot.col[item]);
  }

  // Puts the cursor on a cell and scrolls it into view.
  moveTo(line, col) {
    line = Math.min(Math.max(line, 0), this.lines - 1);
    const { scroller } = this;
    const [left, y, item] = this.mark(line, col);
    this.ring.hidden = false;
    if (y < scroller.scrollTop) scroller.scrollTop = y;
    if (y + this.pitch + 16 > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = y + this.pitch + 16 - scroller.clientHeight;
    if (left < scroller.scrollLeft) scroller.scrollLeft = left - 8;
    if (left + 40 > scroller.scrollLeft + scroller.clientWidth) scroller.scrollLeft = left + 40 - scroller.clientWidth;
    this.onFocus(item);
  }

  key(event) {
    const [line, col] = this.cursor;
    const item = this.itemAt(line, col);
    const behind = item < 0 ? col + 1 : this.snapshot.col[item] + this.snapshot.span[item];
    const last = this.snapshot.slots - 1;
    const page = Math.max(Math.floor(this.scroller.clientHeight / this.pitch) - 1, 1) * this.across;
    const moves = {
      ArrowRight: () => (behind <= last ? this.moveTo(line, behind) : this.moveTo(line + 1, 0)),
      ArrowLeft: () => (col > 0 ? this.moveTo(line, col - 1) : line > 0 && this.moveTo(line - 1, last)),
      ArrowDown: () => this.moveTo(line + this.across, col),
      ArrowUp: () => this.moveTo(line - this.across, col),
      Home: () => this.moveTo(event.ctrlKey ? 0 : line, 0),
      End: () => this.moveTo(event.ctrlKey ? this.lines - 1 : line, last),
      PageDown: () => this.moveTo(line + page, col),
      PageUp: () => this.moveTo(line - page, col),
      Enter: () => item >= 0 && this.onOpen(item),
      "+": () => this.zoom(1),
      "-": () => this.zoom(-1),
    };
    const move = moves[event.key];
    if (!move || event.altKey || event.metaKey) return;
    event.preventDefault();
    move();
  }
}
