// The newest writes: whose disks were counted for each batch, and which server gave each timestamp.

import { byId, makeSvg, setText } from "./dom.js";
import { ago, whole } from "./format.js";

const ROW = 24;
const LABEL = 104;

/** A column a batch, a row a node. */
export function showQuorums(batches, names) {
  if (batches.length === 0) return;
  const box = byId("quorums");
  const width = Math.max(240, box.clientWidth);
  const step = Math.min(32, (width - LABEL) / 20);
  const parts = names.map((name, row) => makeSvg("text", { class: "label", x: 0, y: ROW * row + 16 }, name));
  batches.forEach(({ master, quorum }, column) => {
    names.forEach((name, row) => {
      const kind = name === master ? "master" : quorum.includes(name) ? "counted" : "other";
      const place = { x: LABEL + step * (column + 0.5), y: ROW * row + 16, "text-anchor": "middle" };
      parts.push(makeSvg("text", { class: `disk ${kind}`, ...place }, { master: "★", counted: "●", other: "·" }[kind]));
    });
  });
  draw(box, width, ROW * names.length + 4, parts, "quorums-title");
  const { age_ms: ageMs, master, quorum, writes } = batches.at(-1);
  const what = writes === 1 ? "one write" : `${whole(writes)} writes`;
  setText(byId("quorums-summary"), `The newest: ${what}, ${ago(ageMs)}, on the disks of ${master} and ${quorum.join(" and ")}.`);
}

/** A place a write, in the order of the log; the lane says whose number it has. */
export function showTimestamps(timestamps, errors) {
  if (timestamps.length === 0) return;
  const box = byId("timestamps");
  const width = Math.max(240, box.clientWidth);
  const step = (width - LABEL - 8) / 60;
  const x = (index) => LABEL + step * (index + 0.5);
  const parts = [1, 2].map((server) =>
    makeSvg("text", { class: "label", x: 0, y: 32 * server - 8 }, `server ${server}, ${server === 1 ? "odd" : "even"}`),
  );
  timestamps.forEach(({ server }, index) => {
    const y = 32 * server - 12;
    const size = Math.min(5, 0.45 * step);
    const shape =
      server === 1
        ? makeSvg("circle", { class: "one", cx: x(index), cy: y, r: size })
        : makeSvg("rect", { class: "two", x: x(index) - size, y: y - size, width: 2 * size, height: 2 * size });
    parts.push(shape);
  });
  for (const [first, last] of runsOf(timestamps.map(({ batch }) => batch))) {
    parts.push(makeSvg("path", { class: "grid", d: `M${x(first) - 0.35 * step} 70H${x(last) + 0.35 * step}` }));
  }
  for (const [index, anchor] of [[0, "start"], [timestamps.length - 1, "end"]]) {
    if (index && timestamps.length < 30) continue; // they would run into each other
    parts.push(makeSvg("text", { class: "tick", x: x(index), y: 88, "text-anchor": anchor }, whole(timestamps[index].timestamp)));
  }
  draw(box, width, 94, parts, "timestamps-title");
  const odd = timestamps.filter(({ server }) => server === 1).length;
  const failing = Object.entries(errors).map(([url, why]) => ` ${url} does not answer: ${why}.`);
  setText(
    byId("timestamps-summary"),
    `Of the last ${timestamps.length}, ${odd} of server 1 and ${timestamps.length - odd} of server 2; ` +
      `the newest is ${whole(timestamps.at(-1).timestamp)}.${failing.join("")}`,
  );
}

function draw(box, width, height, parts, titleId) {
  const attributes = { role: "img", "aria-labelledby": titleId, viewBox: `0 0 ${width} ${height}`, height };
  box.replaceChildren(makeSvg("svg", attributes, ...parts));
}

/** [first, last] of each run of equal values. */
function runsOf(values) {
  const runs = [];
  values.forEach((value, index) => {
    if (index && value === values[index - 1]) runs.at(-1)[1] = index;
    else runs.push([index, index]);
  });
  return runs;
}
