// Small charts in SVG. Each says in words what it shows; what it shows is written beside it, too.

import { svg } from "./dom.js";
import { clock } from "./format.js";

const WIDTH = 320;
const HEIGHT = 96;
const GAP = 2;
const SPAN_MS = 5 * 60_000;
const LINES = 3;

/** Stacked bars: `buckets` is `[{at, [name]: number}]`, `names` from the bottom up. */
export function bars(label, buckets, names) {
  const top = Math.max(1, ...buckets.map((one) => sum(one, names)));
  const step = WIDTH / buckets.length;
  const drawn = buckets.map((bucket, index) => {
    let base = HEIGHT;
    const parts = names.map((name) => {
      const height = (bucket[name] / top) * (HEIGHT - 4);
      base -= height;
      return height && svg("rect", { class: `fill-${name}`, x: index * step, y: base, width: step - GAP, height, rx: 1 });
    });
    const words = names.map((name) => `${bucket[name]} ${name}`).join(", ");
    const target = svg("rect", { class: "target", x: index * step, y: 0, width: step, height: HEIGHT });
    return svg("g", {}, svg("title", {}, `${clock(bucket.at).slice(0, 8)}: ${words}`), target, parts);
  });
  return frame(label, drawn);
}

/** Lines over the last minutes: `points` is `[{at, [name]: number|null}]`; the first line has its area filled. */
export function lines(label, points, names) {
  const known = points.flatMap((one) => names.map((name) => one[name] ?? 0));
  const top = Math.max(1e-9, ...known) * 1.08;
  const now = points.length ? points.at(-1).at : Date.now();
  const x = (at) => round(WIDTH - ((now - at) / SPAN_MS) * WIDTH);
  const y = (value) => round(HEIGHT - 1 - (value / top) * (HEIGHT - 4));
  const drawn = names.toReversed().flatMap((name) => {
    const seen = points.filter((one) => one[name] !== null && one[name] !== undefined);
    if (!seen.length) return [];
    const path = seen.map((one) => `${x(one.at)},${y(one[name])}`).join(" L");
    const first = x(seen[0].at);
    const last = x(seen.at(-1).at);
    const area = name === names[0] && svg("path", { class: `area fill-${name}`, d: `M${first},${HEIGHT} L${path} L${last},${HEIGHT} Z` });
    return [area, svg("path", { class: `line stroke-${name}`, d: `M${path} h0.1` })];
  });
  return frame(label, drawn);
}

function frame(label, drawn) {
  const rules = Array.from({ length: LINES }, (_, index) => {
    const height = ((index + 0.5) * HEIGHT) / LINES;
    return svg("line", { class: "rule", x1: 0, x2: WIDTH, y1: height, y2: height });
  });
  const base = svg("line", { class: "rule", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT });
  const box = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label };
  return svg("svg", box, rules, base, drawn);
}

function sum(bucket, names) {
  return names.reduce((total, name) => total + bucket[name], 0);
}

function round(value) {
  return Math.round(value * 10) / 10;
}
