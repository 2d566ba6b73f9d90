// Runs a query, as any client would, and shows its plan, its rows, and where and how it was done.

import { post } from "./access.js";
import { byId, make, setFacts, setText, show } from "./dom.js";
import { span, whole } from "./format.js";

const ROWS_MAX = 200;

export function startConsole() {
  byId("query-form").addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    work(run);
  });
  byId("explain").addEventListener("click", () => work(explain));
  byId("query").addEventListener("keydown", (pressed) => {
    if (pressed.key !== "Enter" || !(pressed.ctrlKey || pressed.metaKey)) return;
    pressed.preventDefault();
    work(run);
  });
  byId("level").addEventListener("change", () => show(byId("staleness-field"), byId("level").value === "bounded"));
}

/** One thing at a time; what cannot be reached is said. */
async function work(action) {
  const buttons = [byId("run"), byId("explain")];
  if (buttons[0].getAttribute("aria-disabled") === "true") return;
  for (const button of buttons) button.setAttribute("aria-disabled", "true");
  try {
    await action(byId("query").value);
  } catch {
    tell("bad", "The coordinator cannot be reached, and nobody can tell whether it has heard of this.");
    setFacts(byId("answer-facts"), []);
  } finally {
    for (const button of buttons) button.removeAttribute("aria-disabled");
  }
}

async function run(query) {
  // before it is run: afterwards the tables may be others
  const plan = await post("explain-replication", { query });
  const began = performance.now();
  const { status, body } = await post("query", { query, ...need(), format: { rows: "arrays", integers: "text" } });
  const tookMs = performance.now() - began;
  showPlan(plan);
  if (body.success) showSuccess(body, tookMs);
  else showError(status, body, tookMs);
}

async function explain(query) {
  const plan = await post("explain-replication", { query });
  show(byId("answer-rows"), false);
  if (plan.status !== 200) {
    showError(plan.status, plan.body, null);
    return;
  }
  const { kind, refusal } = plan.body;
  if (kind === "refused") tell("bad", "It would be refused", refusal.reason);
  else tell("good", `It would be taken: a ${kind}`);
  setFacts(byId("answer-facts"), []);
  showPlan(plan);
  byId("plan").open = true;
}

/** What is said only if it is not what every request has. */
function need() {
  const level = byId("level").value;
  if (level === "strong") return {};
  return level === "bounded" ? { level, max_staleness_ms: Number(byId("staleness").value) } : { level };
}

function tell(kind, message, hint = "") {
  show(byId("answer"), true);
  byId("answer").dataset.state = kind;
  setText(byId("answer-message"), `${kind === "good" ? "✓" : "✕"} ${message}`);
  setText(byId("answer-hint"), hint);
  show(byId("answer-hint"), hint !== "");
}

function showSuccess(body, tookMs) {
  tell("good", body.message);
  setFacts(byId("answer-facts"), [
    ["Time in the browser", span(tookMs)],
    ["Executed on", body.executed_on],
    ["Quorum", body.quorum?.join(", ")],
    ["Timestamp", body.timestamp && whole(body.timestamp)],
    ["Rows", body.rows_affected === null ? null : whole(body.rows_affected)],
    ["Last insert id", body.last_insert_id ? String(body.last_insert_id) : null],
    ["At most so old", body.data && span(body.staleness_ms)],
  ]);
  showRows(body.columns ?? [], body.data ?? null);
}

function showError(status, body, tookMs) {
  const committed = body.committed === false ? "nothing" : "nobody can tell";
  tell("bad", body.message, body.error.hint ?? "");
  setFacts(byId("answer-facts"), [
    ["Status", `${status} ${body.error.kind}`],
    ["MySQL's number", body.error.errno && `${body.error.errno} (${body.error.sqlstate})`],
    ["Committed", committed],
    ["Time in the browser", tookMs === null ? null : span(tookMs)],
  ]);
  show(byId("answer-rows"), false);
}

function showRows(columns, rows) {
  const box = byId("answer-rows");
  show(box, rows !== null && columns.length > 0);
  if (rows === null) return;
  const head = columns.map(({ name, type }) => make("th", { scope: "col", title: type }, name));
  const body = rows.slice(0, ROWS_MAX).map((row) => make("tr", {}, ...row.map(cell)));
  const caption = rows.length > ROWS_MAX ? `The first ${ROWS_MAX} of ${whole(rows.length)} rows` : `Rows: ${whole(rows.length)}`;
  box.replaceChildren(
    make("table", {}, make("caption", {}, caption), make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body)),
  );
}

function cell(value) {
  if (value === null) return make("td", { class: "null" }, "NULL");
  return make("td", {}, typeof value === "object" ? JSON.stringify(value) : String(value));
}

function showPlan({ status, body }) {
  show(byId("plan"), status === 200);
  if (status !== 200) return;
  setFacts(byId("plan-facts"), [
    ["Kind", body.kind],
    ["Verb", body.verb],
    ["Tables", body.tables.join(", ")],
    ["Pinned", body.pins.join(", ")],
    ["Rests on the schema", body.rests_on_schema ? "yes" : "no"],
    ["Refused because", body.refusal?.reason],
  ]);
  show(byId("plan-text"), body.replicated !== null);
  setText(byId("plan-text"), body.replicated ?? "");
}
