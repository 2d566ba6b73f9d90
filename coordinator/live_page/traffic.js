// Requests a second, their latency, and Cabinet's weights: the seconds that were sent, and what is drawn of them.

import { LineChart, linear, logarithmic } from "./charts.js";
import { byId, setText } from "./dom.js";
import { short } from "./format.js";

const SECONDS_MAX = 300;
export const STYLES = ["one", "two", "three", "four"];

export class Traffic {
  #columns = null;
  #rates = new LineChart(
    byId("rates"),
    "rates-title",
    [
      { name: "writes", style: "one" },
      { name: "reads", style: "two", dashed: true },
      { name: "failed", style: "bad" },
      { name: "refused", style: "three", dashed: true },
    ],
    linear(10),
  );
  #latency = new LineChart(
    byId("latency"),
    "latency-title",
    [
      { name: "writes, median", style: "one" },
      { name: "writes, 99 of 100 below", style: "one", dashed: true },
      { name: "reads, median", style: "two" },
      { name: "reads, 99 of 100 below", style: "two", dashed: true },
    ],
    logarithmic(0.1, 100),
  );
  #weights = null;

  /** The stream begins anew. */
  forget() {
    this.#columns = null;
  }

  /** More seconds; `elections`: to mark in the charts; `nowUs`: the coordinator's clock. */
  add(traffic) {
    if (this.#columns === null) this.#columns = traffic;
    else extend(this.#columns, traffic);
  }

  draw(elections, nowUs) {
    const columns = this.#columns;
    if (columns === null || columns.number.length === 0) return;
    const marks = elections
      .filter(({ master }) => master !== null)
      .map(({ began_at_us: beganUs, master }) => ({ agoS: (nowUs - beganUs) / 1e6, text: `→ ${master}` }));
    const { number, writes, reads, failed, refused } = columns;
    // what there mostly is none of would only cover the line of zeros
    this.#rates.draw(number, [writes, reads, ...[failed, refused].map((rates) => rates.map((rate) => rate || null))], marks);
    const latencies = [columns.write_ms_p50, columns.write_ms_p99, columns.read_ms_p50, columns.read_ms_p99];
    this.#latency.draw(number, latencies, marks);
    this.#drawWeights(number, columns.weights);
    setText(
      byId("rates-summary"),
      `Now ${short(writes.at(-1))} writes, ${short(reads.at(-1))} reads, ${short(failed.at(-1))} failed and ` +
        `${short(refused.at(-1))} refused a second; at most ${short(Math.max(...writes))} writes and ` +
        `${short(Math.max(...reads))} reads; ${short(sum(failed))} failed in all.`,
    );
    const [writeMid, writeHigh, readMid, readHigh] = latencies.map(newestOf);
    setText(byId("latency-summary"), `Writes ${pair(writeMid, writeHigh)}. Reads ${pair(readMid, readHigh)}.`);
  }

  #drawWeights(number, weights) {
    const names = Object.keys(weights);
    this.#weights ??= new LineChart(
      byId("weights"),
      "weights-title",
      names.map((name, index) => ({ name, style: STYLES[index], dashed: index % 2 === 1 })),
      linear(1),
    );
    this.#weights.draw(number, Object.values(weights), []);
    const told = names.filter((name) => weights[name].at(-1) !== null).map((name) => `${name} ${short(weights[name].at(-1))}`);
    setText(byId("weights-summary"), told.length ? `Now ${told.join(", ")}.` : "It gives no weights now.");
  }
}

function extend(columns, more) {
  for (const [name, values] of Object.entries(more)) {
    if (Array.isArray(values)) {
      columns[name].push(...values);
      columns[name].splice(0, columns[name].length - SECONDS_MAX);
    } else {
      extend(columns[name], values);
    }
  }
}

const sum = (values) => values.reduce((total, value) => total + value, 0);
const newestOf = (values) => values.findLast((value) => value !== null) ?? null;
const pair = (middle, high) => (middle === null ? "none" : `${short(middle)} ms in the middle, 99 of 100 below ${short(high)} ms`);
