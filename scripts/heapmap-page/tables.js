// The figures as text: the headline ones, the table of size classes, and the tables of arenas and mappings, which are made when they are opened.

// Rows of a long table that are made; a browser takes seconds for more.
const MOST_ROWS = 2000;

class Table {
  // `columns`: [title, value of a row (for the order), cell of a row]. `footer` makes the cells of the last row.
  constructor(table, columns, { order = 0, descending = false, footer = null, onRow = () => {} } = {}) {
    Object.assign(this, { table, columns, order, descending, footer, onRow });
  }

  fill(rows) {
    this.rows = rows;
    this.draw();
  }

  draw() {
    const value = this.columns[this.order][1];
    const sign = this.descending ? -1 : 1;
    const sorted = [...this.rows].sort((one, other) => sign * (value(one) - value(other)));
    const heads = this.columns.map(([title], column) => {
      const head = element("th", { scope: "col" }, element("button", { type: "button", onclick: () => this.sortBy(column) }, title));
      if (column === this.order) head.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
      return head;
    });
    const body = sorted.slice(0, MOST_ROWS).map((row) => {
      const made = element("tr", {}, ...this.columns.map(([, , cell]) => asCell(cell(row))));
      this.onRow(made, row);
      return made;
    });
    const parts = [element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...body)];
    if (this.footer) parts.push(element("tfoot", {}, element("tr", {}, ...this.footer(this.rows).map(asCell))));
    if (sorted.length > MOST_ROWS) {
      const note = `The first ${count(MOST_ROWS)} of ${count(sorted.length)} in this order.`;
      parts.unshift(element("caption", { className: "note" }, note));
    }
    const focused = [...this.table.querySelectorAll("th button")].indexOf(document.activeElement);
    this.table.replaceChildren(...parts);
    if (focused >= 0) this.table.querySelectorAll("th button")[focused].focus();
  }

  sortBy(column) {
    this.descending = column === this.order ? !this.descending : column > 0;
    this.order = column;
    this.draw();
  }
}

const asCell = (content) => (content instanceof HTMLTableCellElement ? content : element("td", {}, content));

// A share as a number and as a bar behind it.
function shareCell(part, whole) {
  const cell = element("td", { className: "share" }, percent(part, whole));
  cell.style.setProperty("--part", whole ? `${(100 * part) / whole}%` : "0");
  return cell;
}

class ClassTable extends Table {
  constructor(onChoose) {
    const sum = (rows, value) => rows.reduce((total, row) => total + value(row), 0);
    const inUse = (row) => row.inUse * row.size;
    super(
      byId("classes"),
      [
        ["Block size", (row) => row.size, (row) => this.nameCell(row)],
        ["Pools", (row) => row.pools, (row) => tableCount(row.pools)],
        ["In use", (row) => row.inUse, (row) => tableCount(row.inUse)],
        ["Free", (row) => row.free, (row) => tableCount(row.free)],
        ["Un\u00adtouched", (row) => row.untouched, (row) => tableCount(row.untouched)],
        ["Bytes in use", inUse, (row) => bytes(inUse(row))],
        ["of pools", (row) => inUse(row) / row.bytes, (row) => shareCell(inUse(row), row.bytes)],
      ],
      {
        order: 5,
        descending: true,
        footer: (rows) => [
          "All",
          ...["pools", "inUse", "free", "untouched"].map((name) => tableCount(sum(rows, (row) => row[name]))),
          bytes(sum(rows, inUse)),
          percent(sum(rows, inUse), sum(rows, (row) => row.bytes)),
        ],
        onRow: (made, row) => {
          made.classList.toggle("chosen", row.number === this.chosen);
          made.addEventListener("click", () => this.choose(row));
        },
      },
    );
    this.chosen = 0;
    this.onChoose = onChoose;
    narrow.addEventListener("change", () => this.rows && this.draw());
  }

  show(process, totals) {
    this.colours = process.colours[isDark() ? "dark" : "light"];
    this.fill(totals.classes.map(([number, size, pools, inUse, free, untouched]) => (
      { number, size, pools, inUse, free, untouched, bytes: pools * process.classes[number][2] * process.slot }
    )));
  }

  nameCell(row) {
    const colour = element("i", { className: "colour" });
    colour.style.background = this.colours[row.number];
    const button = element("button", { type: "button", title: `size class ${row.number}` }, colour, count(row.size));
    button.setAttribute("aria-pressed", row.number === this.chosen);
    return button;
  }

  // A click anywhere in a row; from the keyboard it comes from the button in its first cell.
  choose(row) {
    this.chosen = this.chosen === row.number ? 0 : row.number;
    const focused = document.activeElement.closest("#classes tbody") !== null;
    this.draw();
    if (focused) this.table.querySelector(`button[title="size class ${row.number}"]`).focus();
    this.onChoose(this.chosen);
  }
}

// One row for each arena: what is in it, and how much it holds resident for how little.
function arenaRows(snapshot) {
  const { process, pools, large } = snapshot;
  const rows = [];
  for (let row = 0; row < snapshot.rows; row += 1) {
    const one = { row, base: snapshot.bases[row] * process.arena, pools: 0, large: 0, free: 0, used: 0, resident: 0 };
    for (let item = snapshot.rowStart[row]; item < snapshot.rowStart[row + 1]; item += 1) {
      const ref = snapshot.ref[item];
      one.resident += snapshot.residentPages(item)[0] * process.page;
      if (snapshot.kind[item] === POOL) {
        one.pools += 1;
        one.used += pools.inUse[ref] * process.classes[pools.class[ref]][0];
      } else if (snapshot.kind[item] === LARGE) {
        one.large += 1;
        one.used += large.bytes[ref];
      } else if (snapshot.kind[item] === FREE) {
        one.free += 1;
      }
    }
    rows.push(one);
  }
  return rows;
}

const ARENA_COLUMNS = [
  ["Order", (row) => row.row, (row) => count(row.row + 1)],
  ["Address", (row) => row.base, (row) => element("code", {}, address(row.base))],
  ["Pools", (row) => row.pools, (row) => count(row.pools)],
  ["Large blocks", (row) => row.large, (row) => count(row.large)],
  ["Free slots", (row) => row.free, (row) => count(row.free)],
  ["Bytes in use", (row) => row.used, (row) => bytes(row.used)],
  ["Resident", (row) => row.resident, (row) => bytes(row.resident)],
];

const MAPPING_COLUMNS = [
  ["Address", ([at]) => parseInt(at, 16), ([at]) => element("code", {}, `0x${at}`)],
  ["Bytes", ([, size]) => size, ([, size]) => bytes(size)],
  ["Resident", ([, , resident]) => resident, ([, , resident]) => bytes(resident)],
];

// The headline figures.
function figures(head) {
  const { totals, heap, floor } = head;
  const { arenas, slots, pages, large, mappings, heaps } = totals;
  const share = totals.bytes_in_use <= heap ? `${percent(totals.bytes_in_use, heap)} of the heap's resident bytes` : "more than is resident: not all is touched";
  const all = [
    ["Resident", bytes(totals.resident), `the whole process; ${bytes(heap)} of it are the heap's`],
    ["In use", bytes(totals.bytes_in_use), share],
    ["Page floor", floor === null ? "–" : bytes(floor), floor === null ? "block states are not in the snapshot" : "resident pages that hold a live block"],
    ["Arenas", count(arenas.live), `at most ${count(arenas.most)}; ${count(arenas.mapped)} mapped, ${count(arenas.unmapped)} unmapped`],
    ["Free blocks", bytes(totals.bytes_free), `${counted(slots.free, "free slot")}, ${bytes(slots.dirty_bytes)} of them may be resident`],
    ["Purged", bytes(pages.purged_bytes), `inside pools now; ${counted(slots.purged, "free slot")} since the start`],
    ["Retained", bytes(totals.retained_bytes), "stays, since it was given back too early before"],
    ["Large", bytes(large.bytes + mappings.bytes), `${counted(large.count, "run")} of slots, ${counted(mappings.count, "mapping")}, ${bytes(mappings.kept_bytes)} kept`],
    ["Threads' heaps", count(heaps.live), `${count(heaps.spare)} spare; ${counted(totals.remote_frees, "remote free")}`],
  ];
  byId("figures").replaceChildren(...all.map(([name, value, more]) => (
    element("div", {}, element("dt", {}, name), element("dd", {}, value), element("dd", { className: "more" }, more))
  )));
}
