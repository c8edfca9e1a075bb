// The two charts, drawn as SVG in the pixels of the place they have.

const SVG = "http://www.w3.org/2000/svg";
export const SERIES = 4; // the strokes that page.css has

function draw(parent, name, attributes, text = "") {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  parent.append(node);
}

function begin(svg, label) {
  const { clientWidth: width, clientHeight: height } = svg;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-label", label);
  svg.replaceChildren();
  return { width, height };
}

/** The least of 1, 2 and 5 times a power of ten that is not below a value. */
export function nice(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * (1 - 1e-9));
}

/** Round numbers from zero to the last one that is not above `most`. */
function ticks(most, parts) {
  const step = nice(most / parts);
  return Array.from({ length: Math.floor(most / step + 1e-9) + 1 }, (_, place) => place * step);
}

const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** Lines over the same `xs`; `series` are [place of the stroke, values], and may be shorter than `xs`. */
export function lines(svg, xs, series, axis, label) {
  const { width, height } = begin(svg, label);
  const left = 44, right = width - 12, top = 10, bottom = height - 40;
  const furthest = xs.at(-1);
  const highest = series.flatMap(([, values]) => values).reduce((most, value) => Math.max(most, value), 0) || 1;
  const x = (value) => left + ((right - left) * value) / furthest;
  const y = (value) => bottom - ((bottom - top) * value) / highest;
  for (const tick of ticks(highest, 4)) {
    draw(svg, "line", { class: "grid", x1: left, x2: right, y1: y(tick), y2: y(tick) });
    draw(svg, "text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, short.format(tick));
  }
  for (const tick of ticks(furthest, width < 500 ? 3 : 6)) {
    const anchor = right - x(tick) < 24 ? "end" : "middle";
    draw(svg, "text", { x: x(tick), y: bottom + 18, "text-anchor": anchor }, short.format(tick));
  }
  draw(svg, "text", { x: left, y: height - 4 }, axis);
  for (const [place, values] of series) {
    const points = values.map((value, at) => `${x(xs[at])},${y(value)}`);
    draw(svg, "polyline", { class: `series-${place}`, points: [`${x(0)},${y(0)}`, ...points].join(" ") });
  }
}

/** An interval with its estimate on a scale that has zero in the middle. */
export function interval(svg, [low, high], estimate, write, label) {
  const { width, height } = begin(svg, label);
  const most = nice(Math.max(Math.abs(low), Math.abs(high), Math.abs(estimate)));
  const x = (value) => width / 2 + ((width / 2 - 8) * value) / most;
  const middle = 18;
  draw(svg, "line", { class: "grid", x1: x(-most), x2: x(most), y1: middle, y2: middle });
  draw(svg, "line", { class: "zero", x1: x(0), x2: x(0), y1: 2, y2: 34 });
  draw(svg, "line", { class: "between", x1: x(low), x2: x(high), y1: middle, y2: middle });
  draw(svg, "circle", { cx: x(estimate), cy: middle, r: 6 });
  for (const [value, anchor] of [[-most, "start"], [0, "middle"], [most, "end"]]) {
    const place = value === 0 ? x(0) : x(value) + (value < 0 ? -8 : 8);
    draw(svg, "text", { x: place, y: height - 4, "text-anchor": anchor }, value === 0 ? "0" : write(value));
  }
}
