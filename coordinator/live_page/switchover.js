// Making another node the master: asked once, then sent, and its outcome told.

import { post } from "./access.js";
import { byId, setText } from "./dom.js";

export function askForSwitchover(name) {
  const dialog = byId("switchover");
  setText(byId("switchover-title"), `Make ${name} the master?`);
  dialog.returnValue = "no";
  dialog.addEventListener("close", () => dialog.returnValue === "yes" && switchOver(name), { once: true });
  dialog.showModal();
}

async function switchOver(name) {
  const outcome = byId("switchover-outcome");
  setText(outcome, `${name} is being made the master …`);
  try {
    const { body } = await post("switchover", { to: name });
    setText(outcome, [body.message, body.error?.hint].filter(Boolean).join(": "));
  } catch {
    setText(outcome, "The coordinator cannot be reached; nobody can tell whether it has heard of this.");
  }
}
