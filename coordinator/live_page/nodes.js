// A card a node. Cards are made once and then only changed, so that who is at a button stays there.

import { byId, make, setAttribute, setText, show } from "./dom.js";
import { span, whole } from "./format.js";

const FACTS = ["Epoch", "Log ends at", "Applied", "Behind", "Counts"];
const ROLES = { read: 1, write: 2, admin: 3 };

export class Nodes {
  #cards = new Map();
  #onSwitch;

  /** `onSwitch(name)`: somebody wants this node to be the master. */
  constructor(onSwitch) {
    this.#onSwitch = onSwitch;
  }

  /** `role`: of the token; null: nobody is asked for one. */
  show(state, role) {
    const maySwitch = role === null || ROLES[role] >= ROLES.admin;
    const note = byId("switchover-note");
    show(note, !maySwitch);
    if (!maySwitch) setText(note, `To make another node the master, enter a token of the role admin: this one's is ${role}.`);
    for (const [name, node] of Object.entries(state.status.nodes)) {
      const canLead = node.role === "replica" && node.state === "level" && node.member && state.can_write;
      this.#card(name).show(node, state.nodes[name], canLead && maySwitch);
    }
  }

  #card(name) {
    if (!this.#cards.has(name)) {
      const card = new Card(name, () => this.#onSwitch(name));
      this.#cards.set(name, card);
      byId("nodes").append(card.element);
    }
    return this.#cards.get(name);
  }
}

class Card {
  #role = make("p", { class: "role" });
  #state = make("p", { class: "state" });
  #reason = make("p", { class: "note" });
  #facts = new Map(FACTS.map((name) => [name, make("dd")]));
  #button;

  constructor(name, onSwitch) {
    const facts = [...this.#facts].map(([fact, value]) => make("div", {}, make("dt", {}, fact), value));
    this.#button = make("button", { type: "button", class: "switch", "aria-label": `Make master: ${name}` }, "Make master");
    this.#button.addEventListener("click", onSwitch);
    this.element = make(
      "li",
      { class: "node", id: `node-${name}` },
      make("h3", {}, name),
      this.#role,
      this.#state,
      make("dl", { class: "facts" }, ...facts),
      this.#reason,
      this.#button,
    );
  }

  show(node, live, canSwitch) {
    const isMaster = node.role === "master";
    setAttribute(this.element, "data-role", node.role);
    setAttribute(this.element, "data-state", kindOf(node));
    setText(this.#role, isMaster ? "★ master" : "replica");
    setText(this.#state, `${SIGNS[kindOf(node)]} ${node.state}`);
    setText(this.#reason, node.reason);
    setText(this.#facts.get("Epoch"), live.epoch ? whole(live.epoch) : "–");
    setText(this.#facts.get("Log ends at"), place(node.log_end_timestamp));
    setText(this.#facts.get("Applied"), place(node.applied_timestamp));
    setText(this.#facts.get("Behind"), behind(live));
    setText(this.#facts.get("Counts"), node.member ? "for quorums" : "for nothing yet");
    show(this.#reason, node.reason !== "");
    show(this.#button, canSwitch);
  }
}

const SIGNS = { good: "●", waiting: "◐", bad: "○" };

function kindOf(node) {
  if (node.state === "level") return "good";
  return ["away", "diverged", "quarantined", "bare", "in doubt"].includes(node.state) ? "bad" : "waiting";
}

const place = (timestamp) => (timestamp === null ? "–" : whole(timestamp));

function behind({ behind: count, lag_ms: lagMs }) {
  if (count === null) return "unknown";
  if (count === 0) return "nothing";
  return lagMs === null ? whole(count) : `${whole(count)}, at most ${span(lagMs)}`;
}
