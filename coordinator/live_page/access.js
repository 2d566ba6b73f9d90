// The token: where it is kept, how it is sent, and what the coordinator says where it is missing or too small.

import { byId, setText, show } from "./dom.js";

const KEY = "token";

export const authorization = () => {
  const token = sessionStorage.getItem(KEY);
  return token ? { authorization: `Bearer ${token}` } : {};
};

/** POST a body as JSON; answers with {status, body}. Rejects where the coordinator cannot be reached. */
export async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", ...authorization() },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (response.status === 401) askForToken(answer.message);
  return { status: response.status, body: answer };
}

/** The coordinator knows the token no more, or has seen none. */
export function askForToken(message) {
  setText(byId("access-problem"), message);
  show(byId("access-problem"), true);
  byId("access").open = true;
}

export function tokenWasTaken() {
  show(byId("access-problem"), false);
}

/** `onChange` is called with each new token that somebody enters. */
export function startAccess(onChange) {
  byId("access-form").addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    const token = byId("token").value.trim();
    if (token) sessionStorage.setItem(KEY, token);
    else sessionStorage.removeItem(KEY);
    byId("token").value = "";
    byId("access").open = false;
    show(byId("access-problem"), false);
    onChange();
  });
}
