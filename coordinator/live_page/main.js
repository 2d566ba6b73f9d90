// What comes over the stream, and who shows it.

import { startAccess } from "./access.js";
import { showAdvice } from "./advice.js";
import { startConsole } from "./console.js";
import { byId, setAttribute, setText } from "./dom.js";
import { showElections } from "./elections.js";
import { Nodes } from "./nodes.js";
import { Stream } from "./stream.js";
import { askForSwitchover } from "./switchover.js";
import { Traffic } from "./traffic.js";
import { showNoConnection, showVerdict } from "./verdict.js";
import { showQuorums, showTimestamps } from "./writes.js";

const nodes = new Nodes(askForSwitchover);
const traffic = new Traffic();
let role = null;
let elections = [];
let isDue = false;

const TAKES = {
  viewer(viewer) {
    ({ role } = viewer);
    traffic.forget();
  },
  elections(answer) {
    ({ elections } = answer);
  },
  traffic(columns) {
    traffic.add(columns);
    isDue = true;
  },
  state(state) {
    showVerdict(state);
    nodes.show(state, role);
    showElections(elections, state.step);
    showAdvice(state);
    showQuorums(state.batches, Object.keys(state.nodes));
    showTimestamps(state.timestamps, state.turns, state.status.timestamp_service_errors);
    if (isDue) traffic.draw(elections, state.now_us);
    isDue = false;
  },
};

function showLink(isUp, why) {
  setAttribute(document.body, "data-link", isUp ? "up" : "down");
  setText(byId("link"), isUp ? "● live" : "○ not connected");
  if (!isUp) showNoConnection(why);
}

const stream = new Stream((name, body) => TAKES[name]?.(body), showLink);
startAccess(() => stream.open());
startConsole();
stream.open();
