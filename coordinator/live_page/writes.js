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

/** Above, whose turn it was in the order of the log; below, the newest ones by themselves, with their batches. */
export function showTimestamps(timestamps, turns, errors) {
  if (timestamps.length === 0) return;
  const box = byId("timestamps");
  const width = Math.max(240, box.clientWidth);
  const parts = [...turnsOf(turns, width), ...newestOf(timestamps, width)];
  draw(box, width, 118, parts, "timestamps-title");
  const counts = [1, 2].map((server) => sum(turns.filter((turn) => turn.server === server)));
  const failing = Object.entries(errors).map(([url, why]) => ` ${url} does not answer: ${why}.`);
  setText(
    byId("timestamps-summary"),
    `From ${whole(turns[0].first)} to ${whole(turns.at(-1).last)}: ${whole(counts[0])} of server 1 and ` +
      `${whole(counts[1])} of server 2, in ${turns.length === 1 ? "one turn" : `${turns.length} turns`}.${failing.join("")}`,
  );
}

const sum = (turns) => turns.reduce((total, { count }) => total + count, 0);

function turnsOf(turns, width) {
  const scale = (width - LABEL) / sum(turns);
  const parts = [1, 2].map((server) =>
    makeSvg("text", { class: "label", x: 0, y: 24 * server - 6 }, `server ${server}, ${server === 1 ? "odd" : "even"}`),
  );
  let passed = 0;
  for (const { server, count } of turns) {
    const place = { x: LABEL + scale * passed, y: 24 * server - 17, width: Math.max(1, scale * count - 1), height: 12 };
    parts.push(makeSvg("rect", { class: server === 1 ? "one" : "two", ...place }));
    passed += count;
  }
  return parts;
}

function newestOf(timestamps, width) {
  const step = (width - LABEL) / 60;
  const x = (index) => LABEL + step * (index + 0.5);
  const size = Math.min(4, 0.4 * step);
  const parts = [makeSvg("text", { class: "label", x: 0, y: 78 }, `newest ${timestamps.length}`)];
  timestamps.forEach(({ server }, index) => {
    const square = { x: x(index) - size, y: 74 - size, width: 2 * size, height: 2 * size };
    parts.push(
      server === 1
        ? makeSvg("circle", { class: "one", cx: x(index), cy: 74, r: size })
        : makeSvg("rect", { class: "two", ...square }),
    );
  });
  for (const [first, last] of runsOf(timestamps.map(({ batch }) => batch))) {
    parts.push(makeSvg("path", { class: "batch", d: `M${x(first) - 0.35 * step} 88H${x(last) + 0.35 * step}` }));
  }
  for (const [index, anchor] of [[0, "start"], [timestamps.length - 1, "end"]]) {
    if (index && timestamps.length < 30) continue; // they would run into each other
    parts.push(makeSvg("text", { class: "tick", x: x(index), y: 108, "text-anchor": anchor }, whole(timestamps[index].timestamp)));
  }
  return parts;
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
