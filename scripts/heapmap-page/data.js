// Unpacks what `packing.py` packed. Owns the layout of a chunk on this side, and what is decoded at a time.
// A heap is a list of rows of cells. Exact rows are arenas, and an item is a pool, a large block, a free slot or the header; in merged rows
// each cell is an item.

const HEADER = 0, POOL = 1, LARGE = 2, FREE = 3, MERGED = 4;
// Decoded snapshots that are remembered: a large one takes some megabytes.
const REMEMBERED = 8;

async function unpack(number) {
  const packed = Uint8Array.from(atob(byId(`data${number}`).textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

class Snapshot {
  constructor(process, buffer) {
    const length = new DataView(buffer).getUint32(0, true);
    let at = 4 + length;
    const column = (type, size) => {
      const bytes = size * type.BYTES_PER_ELEMENT;
      // A copy, since the columns are not aligned.
      const values = new type(buffer.slice(at, at + bytes));
      at += bytes;
      return values;
    };
    this.process = process;
    this.head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    this.slots = process.arena / process.slot;
    if (process.together === 1) this.readExact(column);
    else this.readMerged(column);
  }

  readExact(column) {
    const { arenas, pools, large } = this.head;
    const { process, slots } = this;
    this.bases = column(Uint32Array, arenas);
    this.poolsIn = column(Uint8Array, arenas);
    this.largeIn = column(Uint8Array, arenas);
    this.pagesIn = process.arena / process.page;
    this.pageBytes = Math.ceil(this.pagesIn / 8);
    this.resident = column(Uint8Array, arenas * this.pageBytes);
    this.pools = {
      slot: column(Uint8Array, pools),
      class: column(Uint8Array, pools),
      inUse: column(Uint16Array, pools),
      free: column(Uint16Array, pools),
      untouched: column(Uint16Array, pools),
    };
    this.large = { slot: column(Uint8Array, large), slots: column(Uint8Array, large), bytes: column(Uint32Array, large) };
    this.start(arenas, arenas * slots);
    let pool = 0, run = 0;
    for (let row = 0; row < arenas; row += 1) {
      const taken = new Int32Array(slots);
      for (let left = this.poolsIn[row]; left > 0; left -= 1, pool += 1) taken[this.pools.slot[pool]] = pool + 1;
      for (let left = this.largeIn[row]; left > 0; left -= 1, run += 1) taken[this.large.slot[run]] = -run - 1;
      this.rowStart[row] = this.items;
      for (let slot = 0; slot < slots; ) {
        const found = taken[slot];
        if (found > 0) slot = this.add(POOL, row, slot, process.classes[this.pools.class[found - 1]][2], found - 1);
        else if (found < 0) slot = this.add(LARGE, row, slot, this.large.slots[-found - 1], -found - 1);
        else if (slot < process.firstSlot) slot = this.add(HEADER, row, slot, process.firstSlot - slot, 0);
        else slot = this.add(FREE, row, slot, 1, 0);
      }
    }
    this.rowStart[arenas] = this.items;
  }

  readMerged(column) {
    const { process, slots } = this;
    const { together } = process;
    const cells = Math.ceil((this.head.arenas * slots) / together);
    this.bases = column(Uint32Array, Math.ceil(this.head.arenas / Math.max(together / slots, 1)));
    this.merged = {};
    for (const name of ["class", "pools", "large", "used", "resident"]) this.merged[name] = column(Uint8Array, cells);
    const rows = Math.ceil(cells / slots);
    this.start(rows, cells);
    for (let cell = 0; cell < cells; cell += 1) {
      if (cell % slots === 0) this.rowStart[cell / slots] = cell;
      this.add(MERGED, Math.floor(cell / slots), cell % slots, 1, cell);
    }
    this.rowStart[rows] = cells;
  }

  start(rows, most) {
    this.rows = rows;
    this.items = 0;
    this.rowStart = new Int32Array(rows + 1);
    this.kind = new Uint8Array(most);
    this.col = new Uint8Array(most);
    this.span = new Uint8Array(most);
    this.row = new Int32Array(most);
    this.ref = new Int32Array(most);
    this.grid = new Int32Array(rows * this.slots).fill(-1);
  }

  // Returns the slot behind the item.
  add(kind, row, col, span, ref) {
    const item = this.items++;
    this.kind[item] = kind;
    this.col[item] = col;
    this.span[item] = span;
    this.row[item] = row;
    this.ref[item] = ref;
    this.grid.fill(item, row * this.slots + col, row * this.slots + col + span);
    return col + span;
  }

  // The address of an item's first byte.
  at(item) {
    const { arena, slot, together } = this.process;
    if (together === 1) return this.bases[this.row[item]] * arena + this.col[item] * slot;
    const first = item * together;
    return this.bases[Math.floor(first / Math.max(together, this.slots))] * arena + (first % this.slots) * slot;
  }

  // The pages of a row that an item lies on: the first, and the one behind the last.
  pagesOf(item) {
    const { slot, page } = this.process;
    return [Math.floor((this.col[item] * slot) / page), Math.ceil(((this.col[item] + this.span[item]) * slot) / page)];
  }

  isResident(row, page) {
    return (this.resident[row * this.pageBytes + (page >> 3)] >> (page & 7)) & 1;
  }

  residentPages(item) {
    const [first, end] = this.pagesOf(item);
    let resident = 0;
    for (let page = first; page < end; page += 1) resident += this.isResident(this.row[item], page);
    return [resident, end - first];
  }

  // The item at an address, or -1.
  find(place) {
    const { arena, slot } = this.process;
    const row = this.bases.indexOf(Math.floor(place / arena));
    return row < 0 ? -1 : this.grid[row * this.slots + Math.floor((place % arena) / slot)];
  }

  // What an item is, line by line.
  describe(item) {
    const { process } = this;
    const place = address(this.at(item));
    const ref = this.ref[item];
    if (this.kind[item] === MERGED) {
      const part = (value) => `${Math.round(value / 2.55)} %`;
      const { class: classes, pools, large, used, resident } = this.merged;
      const most = classes[ref] ? `, most of them of ${count(process.classes[classes[ref]][0])}-byte blocks` : "";
      return [
        `${count(process.together)} slots from ${place}`,
        `pools ${part(pools[ref])}${most}; large blocks and headers ${part(large[ref])}`,
        `${part(used[ref])} of the pools' bytes in use`,
        `${part(resident[ref])} of the pages resident`,
      ];
    }
    const [resident, pages] = this.residentPages(item);
    const there = `${resident} of ${counted(pages, "page")} resident`;
    const where = `arena ${count(this.row[item] + 1)}, slot ${this.col[item]}`;
    if (this.kind[item] === HEADER) return [`Headers of the arena and its pools, at ${place}`, where, there];
    if (this.kind[item] === FREE) return [`Free slot at ${place}`, where, there];
    if (this.kind[item] === LARGE) {
      return [`Large block at ${place}`, where, `${bytes(this.large.bytes[ref])} in ${counted(this.span[item], "slot")}`, there];
    }
    const { class: classes, inUse, free, untouched } = this.pools;
    const [size, blocks] = process.classes[classes[ref]];
    return [
      `Pool at ${place}`,
      where,
      `size class ${classes[ref]}: ${counted(blocks, "block")} of ${count(size)} bytes`,
      `in use ${count(inUse[ref])} (${percent(inUse[ref], blocks)}), free ${count(free[ref])}, untouched ${count(untouched[ref])}`,
      there,
    ];
  }
}

class Process {
  constructor(index) {
    Object.assign(this, index);
    this.snapshots = new Map();
    this.runs = new Map();
  }

  async snapshot(number) {
    return this.remembered(this.snapshots, number, async () => new Snapshot(this, await unpack(this.cells[number])));
  }

  // The runs of the blocks of one pool of a snapshot, as [state, length] with the states 0 allocated, 1 free, 2 untouched; null where
  // the page does not have them.
  async blockRuns(number, pool) {
    if (this.blocks[number] === null) return null;
    const data = await this.remembered(this.runs, number, async () => new Uint8Array(await unpack(this.blocks[number])));
    let at = 0;
    for (; pool > 0; at += 1) if (data[at] === 0) pool -= 1;
    const runs = [];
    while (data[at] !== 0) {
      let value = 0, shift = 1;
      for (; data[at] & 0x80; at += 1, shift *= 128) value += (data[at] & 0x7f) * shift;
      value += data[at++] * shift;
      runs.push([value % 3, Math.floor(value / 3)]);
    }
    return runs;
  }

  async remembered(memory, key, make) {
    if (!memory.has(key)) {
      memory.set(key, await make());
      if (memory.size > REMEMBERED) memory.delete(memory.keys().next().value);
    }
    return memory.get(key);
  }
}

async function processes() {
  const index = new TextDecoder().decode(await unpack(0));
  return JSON.parse(index).map((about) => new Process(about));
}
