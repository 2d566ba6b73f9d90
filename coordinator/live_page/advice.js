// What Cabinet proposes and how SEER scores, in words and numbers. The weights' chart is with the traffic.

import { byId, make, setText } from "./dom.js";
import { ago } from "./format.js";

const PARTS = ["latency_score", "stability_score", "lag_score", "total"];

export function showAdvice({ cabinet, seer }) {
  if (cabinet !== null) {
    const left = Object.entries(cabinet.excluded).map(([name, why]) => `; without ${name} (${why})`);
    setText(byId("cabinet-note"), `${cabinet.quorum.join(" and ")}: ${cabinet.reason}${left.join("")}. Said ${ago(cabinet.age_ms)}.`);
  }
  if (seer !== null) {
    const left = Object.entries(seer.excluded).map(([name, why]) => `; without ${name} (${why})`);
    setText(
      byId("seer-note"),
      `${seer.ranking.join(", ")}: ${seer.reason}${left.join("")}. Each score is from 0 to 1. Said ${ago(seer.age_ms)}.`,
    );
    byId("scores").replaceChildren(...seer.ranking.map((name) => rowOf(name, seer.scores[name])));
  }
}

function rowOf(name, scores) {
  const cells = PARTS.map((part) => {
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    bar.style.inlineSize = `${100 * scores[part]}%`;
    return make("td", { class: part }, make("span", {}, scores[part].toFixed(3)), bar);
  });
  return make("tr", {}, make("th", { scope: "row" }, name), ...cells);
}
