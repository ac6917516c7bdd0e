// Resident bytes and bytes in use over the snapshots, and the slider under it.
// Owns: the picture, the number of the snapshot that is shown, and playing.

const STEP_MILLISECONDS = 450;
const LINE_TALL = 96, LINE_TOP = 14, LINE_BOTTOM = 18, LINE_LEFT = 8, LINE_RIGHT = 8;

const svg = (name, attributes = {}, text = "") => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
};

// So many digits that neighbouring snapshots differ.
const since = (start, time) => `${(time - start).toFixed(time - start < 100 ? 2 : 0)} s`;

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
    byId("when").textContent = text;
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
    const width = this.picture.clientWidth;
    if (!width || !this.head) return;
    const { line } = this.process;
    this.from = line[0][0];
    this.long = line[line.length - 1][0] - this.from || 1;
    const most = Math.max(...line.map(([, resident, used]) => Math.max(resident, used)), 1);
    const x = (time) => LINE_LEFT + ((time - this.from) / this.long) * (width - LINE_LEFT - LINE_RIGHT);
    const y = (value) => LINE_TALL - LINE_BOTTOM - (value / most) * (LINE_TALL - LINE_TOP - LINE_BOTTOM);
    const path = (column) => `M${line.map((point) => `${x(point[0]).toFixed(1)} ${y(point[column]).toFixed(1)}`).join("L")}`;
    const { resident, bytes_in_use: used } = this.head.totals;
    const now = x(this.process.times[this.number]);
    const floor = LINE_TALL - LINE_BOTTOM;
    // The figures stand on the side of the mark that has room, the upper one above its point.
    const [anchor, aside] = now > width * 0.62 ? ["end", now - 9] : ["start", now + 9];
    const high = Math.max(Math.min(y(resident), y(used) - 15) - 3, 10);
    const low = Math.min(Math.max(y(used) - 3, high + 14), floor - 3);
    this.picture.setAttribute("viewBox", `0 0 ${width} ${LINE_TALL}`);
    this.picture.replaceChildren(
      svg("path", { d: `M${LINE_LEFT} ${floor}H${width - LINE_RIGHT}`, class: "grid" }),
      svg("path", { d: path(1), class: "resident" }),
      svg("path", { d: path(2), class: "used" }),
      svg("path", { d: `M${now} 2V${floor}`, class: "now" }),
      svg("circle", { cx: now, cy: y(resident), r: 3.5, class: "resident" }),
      svg("circle", { cx: now, cy: y(used), r: 3.5, class: "used" }),
      svg("text", { x: aside, y: high, "text-anchor": anchor, class: "resident" }, `${bytes(resident)} resident`),
      svg("text", { x: aside, y: low, "text-anchor": anchor, class: "used" }, `${bytes(used)} in use`),
      svg("text", { x: LINE_LEFT, y: LINE_TALL - 4 }, "0 s"),
      svg("text", { x: width - LINE_RIGHT, y: LINE_TALL - 4, "text-anchor": "end" }, since(0, this.long)),
    );
  }
}
