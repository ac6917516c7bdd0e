// The verdict on the moment that is shown: a leak, fragmentation, or neither, as `pymalloc why` words it.
// Its constants are those of watch/src/why.rs, where each has its reason.

const CERTAINTY = 0.8;
const DOUBLES_WITHIN = 24 * 3600;
const LEAST_GROWTH = 64 * 1024;
const PINNED_PART = 4;
const LEAST_PINNED = 8 * 1024 * 1024;
// Snapshots that a straight line is laid through at least.
const LEAST_POINTS = 8;

// How what is in use changed in the second half of the time up to then: by so many bytes a second if that was steady, otherwise 0; null where too little is known.
function growth(line, time) {
  const from = line[0][0] + (time - line[0][0]) / 2;
  const points = line.filter(([at]) => at >= from && at <= time);
  if (points.length < LEAST_POINTS) return null;
  const mean = (column) => points.reduce((sum, point) => sum + point[column], 0) / points.length;
  const [middle, used] = [mean(0), mean(2)];
  let times = 0, both = 0, all = 0;
  for (const point of points) {
    times += (point[0] - middle) ** 2;
    both += (point[0] - middle) * (point[2] - used);
    all += (point[2] - used) ** 2;
  }
  if (times === 0 || all === 0) return 0;
  const rate = both / times;
  const steady = both ** 2 / (times * all) >= CERTAINTY && Math.abs(rate) * (points[points.length - 1][0] - points[0][0]) >= LEAST_GROWTH;
  return steady ? rate : 0;
}

function verdict(head, line) {
  const { totals, heap, floor } = head;
  const rate = growth(line, head.time);
  const inUse = totals.bytes_in_use;
  const pinned = floor === null ? 0 : Math.max(floor - inUse, 0);
  if (rate > 0 && rate * DOUBLES_WITHIN >= inUse) return `It looks like a leak: what is in use grows by ${bytes(Math.round(rate * 60))} a minute.`;
  if (pinned >= LEAST_PINNED && pinned * PINNED_PART >= heap) {
    return `It is fragmentation: ${percent(pinned, totals.resident)} of what is resident, ${bytes(pinned)}, are parts of pages that stay for the few blocks in use on them.`;
  }
  if (heap * 2 < totals.resident) return `It is not the heap: ${percent(totals.resident - heap, totals.resident)} of what is resident belongs to files, stacks, or what the program mapped itself.`;
  const part = `${percent(Math.min(inUse, totals.resident), totals.resident)} of what is resident is in use`;
  if (floor === null) return `${part}. Whether the rest is pinned is not in these snapshots.`;
  return rate === null ? `No fragmentation: ${part}. There are too few snapshots to tell whether that grows.` : `Neither a leak nor fragmentation: ${part}, and that does not grow.`;
}
