// Elements. Whatever is shown goes in as text: nothing here, nor elsewhere on the page, parses HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined).map(node));
  return element;
}

function node(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

/** An element: el("p", {class: "faint"}, "text", el("b", {}, "more")). */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same, of a picture. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/** A node's text, touched only where it is another: what a reader has selected stays. */
export function say(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

/** A share (0 to 1) as an element's width. */
export function wide(element, share) {
  const clipped = Math.min(Math.max(share || 0, 0), 1);
  element.style.width = `${(100 * clipped).toFixed(2)}%`;
}

/**
 * A list's elements, one an item: those that are there stay, with their focus, and are brought up to date.
 * make(item) answers an element, update(element, item) changes it.
 */
export function keep(list, items, key, make, update) {
  const known = new Map([...list.children].map((child) => [child.dataset.key, child]));
  const wanted = new Set(items.map((item) => String(key(item))));
  for (const [name, child] of known) if (!wanted.has(name)) child.remove();
  let place = list.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = known.get(name);
    if (child === undefined) {
      child = make(item);
      child.dataset.key = name;
    }
    update(child, item);
    if (child === place) place = place.nextElementSibling;
    else list.insertBefore(child, place);
  }
}
