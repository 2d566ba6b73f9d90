// Elements out of data. Texts go in as texts, never as HTML: whatever a row or an error says, it is shown and not obeyed.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** Change only what differs: a screen reader tells what has changed, and the browser lays out less. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

export function show(element, isShown) {
  if (element.hidden === isShown) element.hidden = !isShown;
}

/** An element with attributes and children; a child may be a text. */
export function make(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function makeSvg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** A list of facts: [[name, text], …]; what has no text is left out. */
export function setFacts(list, facts) {
  const told = facts.filter(([, text]) => text !== null && text !== undefined && text !== "");
  list.replaceChildren(...told.map(([name, text]) => make("div", {}, make("dt", {}, name), make("dd", {}, text))));
}
