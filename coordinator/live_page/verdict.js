// What a person wants to see at once: whether writes are taken, who is master, what happened last.

import { byId, setAttribute, setText } from "./dom.js";
import { ago, clock, span, whole } from "./format.js";

const SIGNS = { good: "✓", waiting: "…", bad: "✕" };

export function showVerdict(state) {
  const { status } = state;
  if (state.can_write) tell("good", "Writes are taken");
  else if (state.step !== null) tell("waiting", `No writes during an election (${state.step}); it waits for ${status.waits_for}`);
  else tell("bad", `No writes: ${status.waits_for}`);
  setText(byId("master"), status.current_master ?? "none");
  setText(byId("epoch"), whole(status.epoch));
  setText(byId("committed"), whole(status.committed_timestamp));
  setText(byId("pending"), whole(status.pending_writes));
  setText(byId("last-change"), lastChange(status.last_election, state));
  document.title = `${state.can_write ? SIGNS.good : SIGNS.bad} ${status.current_master ?? "no master"}`;
}

/** Nothing is known any more; what is on the page is as it was. */
export function showNoConnection(why) {
  tell("bad", `No connection to the coordinator: ${why}`);
  document.title = "✕ no connection";
}

function tell(kind, headline) {
  setAttribute(byId("verdict"), "data-state", kind);
  setText(byId("verdict-sign"), SIGNS[kind]);
  setText(byId("headline"), headline);
}

function lastChange(election, { now_us: nowUs, step }) {
  if (election === null) return "none is known";
  if (election.master === null) return `${step === null ? "an election was lost" : "an election is under way"}: ${election.reason}`;
  const when = ago((nowUs - election.began_at_us) / 1000 - election.duration_ms);
  return `${election.master} became master at ${clock(election.began_at_us)}, ${when}, within ${span(election.duration_ms)}: ${election.reason}`;
}
