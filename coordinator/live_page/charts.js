// Lines over the last five minutes, drawn by hand as SVG at the width that is there. What a line is, is said by its colour, its
// dashes and the list below the chart.

import { make, makeSvg } from "./dom.js";
import { short } from "./format.js";

const SECONDS = 300;
const HEIGHT = 200;
const MARGIN = { left: 44, right: 12, top: 12, bottom: 26 };

export class LineChart {
  #box;
  #titleId;
  #lines;
  #scale;
  #svg = makeSvg("svg", { role: "img" });
  #last = null;

  /** `lines`: [{name, style, dashed}]; `scale`: linear(…) or logarithmic(…); `titleId`: of the element that says what is shown. */
  constructor(box, titleId, lines, scale) {
    this.#box = box;
    this.#titleId = titleId;
    this.#lines = lines;
    this.#scale = scale;
    this.#svg.setAttribute("aria-labelledby", titleId);
    const keys = lines.map(({ name, style, dashed }) =>
      make("li", {}, keySign(style, dashed), make("span", {}, name)),
    );
    box.append(this.#svg, make("ul", { class: "key" }, ...keys));
    new ResizeObserver(() => this.#last && this.draw(...this.#last)).observe(box);
  }

  /** `numbers`: of the seconds; `columns`: a list of values a line, null where there is none; `marks`: [{agoS, text}]. */
  draw(numbers, columns, marks) {
    this.#last = [numbers, columns, marks];
    const width = Math.max(240, Math.floor(this.#box.clientWidth));
    const newest = numbers.at(-1) ?? 0;
    const inner = { width: width - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
    const scale = this.#scale(columns.flat().filter((value) => value !== null));
    const x = (agoS) => MARGIN.left + inner.width * (1 - agoS / SECONDS);
    const y = (value) => MARGIN.top + inner.height * (1 - scale.share(value));
    const parts = [...frame(x, y, scale.ticks, width), ...marked(marks, x)];
    this.#lines.forEach(({ style, dashed }, index) => {
      const d = pathOf(numbers, columns[index], (number) => x(newest - number), y);
      if (d) parts.push(makeSvg("path", { class: `line ${style}${dashed ? " dashed" : ""}`, d }));
    });
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.#svg.setAttribute("height", HEIGHT);
    this.#svg.replaceChildren(...parts);
  }
}

function keySign(style, dashed) {
  return makeSvg(
    "svg",
    { class: "sign", viewBox: "0 0 24 8", width: 24, height: 8, "aria-hidden": "true" },
    makeSvg("path", { class: `line ${style}${dashed ? " dashed" : ""}`, d: "M0 4H24" }),
  );
}

/** From 0 to a round number above all values. */
export const linear = (least) => (values) => {
  const top = roundAbove(Math.max(least, ...values));
  return { share: (value) => value / top, ticks: [0, top / 2, top].map((value) => [value, short(value)]) };
};

/** Powers of ten, from `low` to `high` or further. */
export const logarithmic = (low, high) => (values) => {
  const top = Math.max(Math.ceil(Math.log10(Math.max(high, ...values))), Math.log10(high));
  const bottom = Math.log10(low);
  const ticks = [];
  for (let power = bottom; power <= top; power++) ticks.push([10 ** power, short(10 ** power)]);
  const share = (value) => Math.max(0, (Math.log10(value) - bottom) / (top - bottom));
  return { share, ticks };
};

function roundAbove(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 8, 10].map((factor) => factor * power).find((round) => round >= value);
}

function frame(x, y, ticks, width) {
  const parts = [];
  for (const [value, text] of ticks) {
    parts.push(makeSvg("path", { class: "grid", d: `M${MARGIN.left} ${y(value)}H${width - MARGIN.right}` }));
    parts.push(makeSvg("text", { class: "tick", x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" }, text));
  }
  // on a phone they would run into each other
  for (const minutes of width < 480 ? [5, 3, 0] : [5, 4, 3, 2, 1, 0]) {
    const anchor = minutes === 5 ? "start" : minutes === 0 ? "end" : "middle";
    const text = minutes ? `${minutes} min ago` : "now";
    parts.push(makeSvg("text", { class: "tick", x: x(60 * minutes), y: HEIGHT - 6, "text-anchor": anchor }, text));
  }
  return parts;
}

/** `marks`: oldest first. Of some that are close to each other the newest has its text. */
function marked(marks, x) {
  const parts = [];
  let next = Infinity;
  for (const { agoS, text } of marks.filter((mark) => mark.agoS >= 0 && mark.agoS <= SECONDS).toReversed()) {
    const place = x(agoS);
    parts.push(makeSvg("path", { class: "mark", d: `M${place} ${MARGIN.top}V${HEIGHT - MARGIN.bottom}` }));
    if (next - place < 100) continue;
    next = place;
    parts.push(makeSvg("text", { class: "tick", x: place - 4, y: MARGIN.top + 8, "text-anchor": "end" }, text));
  }
  return parts;
}

/** A line through the values; broken where one is missing, a dot where one stands alone. */
function pathOf(numbers, values, x, y) {
  let path = "";
  let before = null;
  values.forEach((value, index) => {
    const number = numbers[index];
    if (value !== null) {
      const joins = before !== null && number - before <= 1;
      path += `${joins ? "L" : "M"}${x(number).toFixed(1)} ${y(value).toFixed(1)}${joins ? "" : "h.01"}`;
    }
    before = value === null ? null : number;
  });
  return path;
}
