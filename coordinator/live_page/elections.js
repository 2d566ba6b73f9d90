// The timeline of elections: why, when, how long each step took, who was ranked how and who was passed over.

import { byId, make, setFacts, show } from "./dom.js";
import { clock, short, span } from "./format.js";

let shown = "";

/** Newest last, as they come; `step`: what the one under way is at. */
export function showElections(elections, step) {
  const key = JSON.stringify([elections, step]);
  if (key === shown) return; // who reads in it, or has opened one, is not disturbed
  shown = key;
  const list = byId("elections");
  const open = new Set([...list.querySelectorAll("details[open]")].map(({ dataset }) => dataset.key));
  const focused = document.activeElement?.parentElement?.dataset?.key;
  const items = elections.toReversed().map((election, index) => itemOf(election, step, index === 0 || open.has(keyOf(election))));
  list.replaceChildren(...items);
  if (focused) list.querySelector(`details[data-key="${focused}"] > summary`)?.focus();
  show(byId("no-elections"), elections.length === 0);
}

const keyOf = ({ began_at_us: beganUs }) => String(beganUs);

function itemOf(election, step, isOpen) {
  const isOver = election.master !== null;
  const unfinished = step === null ? "not won" : `under way: ${step}`;
  const outcome = isOver ? `${election.master}, after ${span(election.duration_ms)}` : unfinished;
  const time = make("time", { datetime: new Date(election.began_at_us / 1000).toISOString() }, clock(election.began_at_us));
  const facts = make("dl", { class: "facts" });
  setFacts(facts, [
    ["Epoch", String(election.epoch)],
    ["Attempts", String(election.attempts)],
    ["Ranking", election.ranking.join(", ")],
    ...Object.entries(election.rejected).map(([name, why]) => [`Not ${name}`, why]),
  ]);
  const details = make(
    "details",
    { "data-key": keyOf(election) },
    make("summary", {}, time, make("span", { class: "to" }, outcome), make("span", { class: "why" }, election.reason)),
    stepsOf(election.step_ms),
    facts,
  );
  details.open = isOpen;
  return make("li", { "data-state": isOver ? "good" : "waiting" }, details);
}

/** A bar a step, where the one before it ended. */
function stepsOf(stepMs) {
  const steps = Object.entries(stepMs);
  const total = steps.reduce((sum, [, ms]) => sum + ms, 0) || 1;
  let passed = 0;
  const rows = steps.map(([name, ms]) => {
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    bar.style.marginInlineStart = `${(100 * passed) / total}%`;
    bar.style.inlineSize = `${Math.max(0.5, (100 * ms) / total)}%`;
    passed += ms;
    return make("li", {}, make("span", { class: "step" }, name), make("span", { class: "ms" }, `${short(ms)} ms`), bar);
  });
  return make("ol", { class: "steps" }, ...rows);
}
