// The connection over which all that is shown comes: opened again when it breaks, closed while nobody looks at the page.

import { askForToken, authorization, tokenWasTaken } from "./access.js";
import { EventParser } from "./events.js";

const PAUSE_MS_MIN = 250;
const PAUSE_MS_MAX = 3000;
const SILENCE_MS_MAX = 4000; // a state comes twice a second: who says nothing for so long is not there

export class Stream {
  #onEvent;
  #onLink;
  #connection = null;
  #pauseMs = PAUSE_MS_MIN;
  #timer = 0;

  /** `onEvent(name, body)`; `onLink(isUp, why)` when the connection is there, and when it is not. */
  constructor(onEvent, onLink) {
    this.#onEvent = onEvent;
    this.#onLink = onLink;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#close() : this.open()));
  }

  /** Anew, with the token of now. */
  open() {
    this.#close();
    const connection = new AbortController();
    this.#connection = connection;
    this.#read(connection)
      .catch((error) => ({ why: error.name === "AbortError" ? "it says nothing any more" : "it cannot be reached" }))
      .then(({ why, wantsToken }) => {
        if (this.#connection !== connection) return; // another one has taken its place
        this.#onLink(false, why);
        if (wantsToken) return; // asked again with another token, and not before
        this.#timer = setTimeout(() => this.open(), this.#pauseMs);
        this.#pauseMs = Math.min(2 * this.#pauseMs, PAUSE_MS_MAX);
      });
  }

  #close() {
    clearTimeout(this.#timer);
    const connection = this.#connection;
    this.#connection = null;
    connection?.abort();
  }

  /** A fault of the page's is no fault of the connection's. */
  #tell(name, data) {
    try {
      this.#onEvent(name, JSON.parse(data));
    } catch (error) {
      reportError(error);
    }
  }

  /** Until it ends; answers why, and whether it wants a token. */
  async #read(connection) {
    let silence = setTimeout(() => connection.abort(), SILENCE_MS_MAX);
    try {
      const headers = { accept: "text/event-stream", ...authorization() };
      const response = await fetch("live", { headers, signal: connection.signal, cache: "no-store" });
      if (!response.ok) return await refusal(response);
      tokenWasTaken();
      const parser = new EventParser((name, data) => {
        if (this.#connection === connection) this.#tell(name, data);
      });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return { why: "it has ended the connection" };
        clearTimeout(silence);
        silence = setTimeout(() => connection.abort(), SILENCE_MS_MAX);
        parser.push(value);
        if (this.#connection === connection) this.#onLink(true, "");
        this.#pauseMs = PAUSE_MS_MIN;
      }
    } finally {
      clearTimeout(silence);
    }
  }
}

async function refusal(response) {
  const { message } = await response.json();
  const wantsToken = response.status === 401;
  if (wantsToken) askForToken(message);
  return { why: message, wantsToken };
}
