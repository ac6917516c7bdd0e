// Resident bytes, bytes in use and the page floor over the snapshots, and the slider under them.
// Owns: the picture with its two scales, the number of the snapshot that is shown, and playing.

const STEP_MILLISECONDS = 450;
const LINE_TOP = 12, LINE_BOTTOM = 24, LINE_LEFT = 66, LINE_RIGHT = 14;
// Lines across the picture at most, and pixels from one clock time to the next at least.
const MOST_LEVELS = 5, CLOCK_APART = 92;
// Between the lower edges of two figures at the mark.
const FIGURE_APART = 15;
// Seconds from one clock time to the next.
const CLOCK_STEPS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
// The lines, by their place in a point of the process's line.
const LINES_DRAWN = [[1, "resident", "resident"], [2, "used", "in use"], [3, "floor", "page floor"]];

const svg = (name, attributes = {}, text = "") => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
};

// So many digits that neighbouring snapshots differ.
const since = (start, time) => `${(time - start).toFixed(time - start < 100 ? 2 : 0)} s`;

// The time of day where the reader is; `step` is what the times beside it differ by, and tells how exact it must be.
function clock(time, step) {
  const date = new Date(Math.round(time * 1000));
  const two = (number) => String(number).padStart(2, "0");
  const minutes = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (step >= 86400) return `${date.getDate()}.${date.getMonth() + 1}.`;
  if (step >= 60) return minutes;
  const whole = `${minutes}:${two(date.getSeconds())}`;
  return step >= 1 ? whole : `${whole}.${String(date.getMilliseconds()).padStart(3, "0").slice(0, step >= 0.1 ? 1 : 2)}`;
}

// Round numbers of bytes from 0 to the first that is not below `most`.
function levels(most) {
  let unit = 1;
  while (most / unit >= 1024) unit *= 1024;
  let step = unit;
  for (const factor of [1, 2, 5, 10, 20, 50, 100, 200, 500]) {
    step = factor * unit;
    if (most / step <= MOST_LEVELS) break;
  }
  // Of a largest value that is few units itself, halves and less.
  for (const divisor of [2, 4]) if (most / (unit / divisor) <= MOST_LEVELS) step = unit / divisor;
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, number) => number * step);
}

// A level as short as it can be: 0, 1.5 GiB, 200 MiB.
function levelName(number) {
  const unit = number ? Math.min(Math.floor(Math.log2(number) / 10), UNITS.length - 1) : 0;
  return number ? `${+(number / 1024 ** unit).toFixed(2)} ${UNITS[unit]}` : "0";
}

// The clock times between two moments that are round where the reader is, and the seconds between them.
function clockTimes(from, to, most) {
  const step = CLOCK_STEPS.find((one) => (to - from) / one <= most) || 86400 * Math.ceil((to - from) / 86400 / most);
  const shift = new Date(from * 1000).getTimezoneOffset() * 60;
  const times = [];
  for (let number = Math.ceil((from - shift) / step); number * step + shift <= to; number += 1) times.push(number * step + shift);
  return [times, step];
}

// Heights for figures that would stand at these, in the order given, moved apart so that each can be read.
function apart(heights, top, bottom) {
  const order = heights.map((_, index) => index).sort((one, other) => heights[one] - heights[other]);
  const moved = [];
  let least = top;
  for (const index of order) {
    moved[index] = Math.max(heights[index], least);
    least = moved[index] + FIGURE_APART;
  }
  let most = bottom;
  for (const index of order.reverse()) {
    moved[index] = Math.min(moved[index], most);
    most = moved[index] - FIGURE_APART;
  }
  return moved;
}

class History {
  constructor(onChoose) {
    this.onChoose = onChoose;
    this.slider = byId("slider");
    this.picture = byId("line");
    this.slider.addEventListener("input", () => {
      this.stop();
      onChoose(+this.slider.value);
    });
    byId("play").addEventListener("click", () => (this.playing ? this.stop() : this.play()));
    this.picture.addEventListener("pointerdown", (event) => this.pick(event));
    this.picture.addEventListener("pointermove", (event) => event.buttons === 1 && this.pick(event));
    new ResizeObserver(() => this.draw()).observe(this.picture);
  }

  start(process) {
    this.stop();
    this.process = process;
    byId("history").hidden = process.times.length < 2;
    this.slider.max = process.times.length - 1;
  }

  show(number, head) {
    this.number = number;
    this.head = head;
    const { times } = this.process;
    this.slider.value = number;
    const text = `${number + 1} of ${times.length}, after ${since(times[0], times[number])}`;
    byId("when").replaceChildren(`${text}, at `, element("time", { dateTime: new Date(times[number] * 1000).toISOString() }, clock(times[number], 1)));
    this.slider.setAttribute("aria-valuetext", `${text}: ${bytes(head.totals.resident)} resident, ${bytes(head.totals.bytes_in_use)} in use`);
    this.draw();
  }

  // Plays on from here, from the start when the last is shown. Each step waits until the one before is drawn.
  async play() {
    byId("play").textContent = "Pause";
    const playing = (this.playing = {});
    const last = this.process.times.length - 1;
    let number = this.number === last ? 0 : this.number + 1;
    for (; number <= last && this.playing === playing; number += 1) {
      await this.onChoose(number);
      await new Promise((done) => setTimeout(done, STEP_MILLISECONDS));
    }
    if (this.playing === playing) this.stop();
  }

  stop() {
    this.playing = null;
    byId("play").textContent = "Play";
  }

  pick(event) {
    this.stop();
    const box = this.picture.getBoundingClientRect();
    const { times } = this.process;
    const wanted = this.from + ((event.clientX - box.left - LINE_LEFT) / (box.width - LINE_LEFT - LINE_RIGHT)) * this.long;
    let nearest = 0;
    times.forEach((time, number) => {
      if (Math.abs(time - wanted) < Math.abs(times[nearest] - wanted)) nearest = number;
    });
    if (nearest !== this.number) this.onChoose(nearest);
  }

  draw() {
    const width = this.picture.clientWidth, height = this.picture.clientHeight;
    if (!width || !this.head) return;
    const { line } = this.process;
    this.from = line[0][0];
    this.long = line[line.length - 1][0] - this.from || 1;
    const scale = levels(Math.max(...line.map(([, ...values]) => Math.max(...values)), 1));
    const bottom = height - LINE_BOTTOM;
    const x = (time) => LINE_LEFT + ((time - this.from) / this.long) * (width - LINE_LEFT - LINE_RIGHT);
    const y = (value) => bottom - (value / scale[scale.length - 1]) * (bottom - LINE_TOP);
    this.picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.picture.replaceChildren(...this.levels(scale, y, width), ...this.clockTimes(x, bottom, width), ...this.lines(x, y), ...this.mark(x, y, width, bottom));
  }

  levels(scale, y, width) {
    return scale.flatMap((level) => [
      svg("path", { d: `M${LINE_LEFT} ${y(level)}H${width - LINE_RIGHT}`, class: "grid" }),
      svg("text", { x: LINE_LEFT - 8, y: y(level) + 4, "text-anchor": "end", class: "level" }, levelName(level)),
    ]);
  }

  clockTimes(x, bottom, width) {
    const [times, step] = clockTimes(this.from, this.from + this.long, Math.max(Math.floor((width - LINE_LEFT) / CLOCK_APART), 1));
    return times.flatMap((time) => {
      // At the edges a time stands beside its line, so that it is not cut.
      const at = x(time);
      const anchor = at > width - LINE_RIGHT - 24 ? "end" : "middle";
      return [
        svg("path", { d: `M${at} ${bottom}v5`, class: "grid" }),
        svg("text", { x: anchor === "end" ? width - 2 : at, y: bottom + 18, "text-anchor": anchor, class: "clock" }, clock(time, step)),
      ];
    });
  }

  // Snapshots without the states of blocks tell no page floor: its line has gaps there.
  lines(x, y) {
    return LINES_DRAWN.map(([column, name]) => {
      let path = "", joined = false;
      for (const point of this.process.line) {
        const there = point[column] !== null;
        if (there) path += `${joined ? "L" : "M"}${x(point[0]).toFixed(1)} ${y(point[column]).toFixed(1)}`;
        joined = there;
      }
      return svg("path", { d: path, class: name });
    });
  }

  // The snapshot that is shown: a line across, and each figure on the side that has room.
  mark(x, y, width, bottom) {
    const now = x(this.process.times[this.number]);
    const { totals, floor } = this.head;
    const shown = [totals.resident, totals.bytes_in_use, floor].map((value, index) => [value, ...LINES_DRAWN[index].slice(1)]).filter(([value]) => value !== null);
    const heights = apart(shown.map(([value]) => y(value) - 5), LINE_TOP + 8, bottom - 4);
    const [anchor, aside] = now > width * 0.62 ? ["end", now - 9] : ["start", now + 9];
    return [
      svg("path", { d: `M${now} 2V${bottom}`, class: "now" }),
      ...shown.map(([value, name]) => svg("circle", { cx: now, cy: y(value), r: 3.5, class: name })),
      ...shown.map(([value, name, text], index) => svg("text", { x: aside, y: heights[index], "text-anchor": anchor, class: name }, `${bytes(value)} ${text}`)),
    ];
  }
}
