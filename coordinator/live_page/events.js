// Server-sent events, read by hand: the browser's EventSource cannot send a token.
// https://html.spec.whatwg.org/multipage/server-sent-events.html, without `id` and `retry`, which the coordinator does not send.

/** Takes the stream's text in whatever pieces it comes, and calls `onEvent(name, data)` for each event that is complete. */
export class EventParser {
  #onEvent;
  #rest = "";
  #name = "";
  #data = [];

  constructor(onEvent) {
    this.#onEvent = onEvent;
  }

  push(text) {
    this.#rest += text;
    // a carriage return at the end may be half of a line break: it waits for what comes
    const lines = this.#rest.split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    for (const line of lines) this.#take(line);
  }

  #take(line) {
    if (line === "") {
      if (this.#data.length) this.#onEvent(this.#name || "message", this.#data.join("\n"));
      this.#name = "";
      this.#data = [];
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#name = value;
    if (field === "data") this.#data.push(value);
  }
}
