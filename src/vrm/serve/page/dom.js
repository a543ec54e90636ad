// Elements are made here and nowhere else: texts become text nodes, so nothing that a model or a person wrote is markup.

/** An element. Properties: `class`, `on` ({event: handler}), `style` ({property: value}), attributes by name. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else if (name === "style") for (const [key, entry] of Object.entries(value)) element.style.setProperty(key, entry);
    else if (name === "class") element.className = value;
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Put children in the place of those that are there; what had the focus keeps it, by its `data-key`. */
export function fill(container, ...children) {
  const focused = container.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  container.replaceChildren(...children.flat(3).filter(Boolean));
  if (focused === undefined) return;
  for (const element of container.querySelectorAll("[data-key]")) {
    if (element.dataset.key === focused) element.focus({ preventScroll: true });
  }
}

/** A, B, ..., Z, AA, ... as the package labels completions. */
export function label(position) {
  let letters = "";
  for (let rest = position + 1; rest > 0; rest = Math.floor((rest - 1) / 26)) {
    letters = String.fromCharCode(65 + ((rest - 1) % 26)) + letters;
  }
  return letters;
}

/** A label in the colour of its completion. */
export const badge = (position) => h("span", { class: `badge series-${position % 8}` }, label(position));

const MINUS = "\u2212";
const text = (value, digits) => Math.abs(value).toFixed(digits);

/** A number without needless sign, with a real minus. */
export const plain = (value, digits = 2) => (Number(text(value, digits)) && value < 0 ? MINUS : "") + text(value, digits);

/** A number with its sign; what rounds to zero has none. */
export function signed(value, digits = 2) {
  const shown = text(value, digits);
  if (!Number(shown)) return shown;
  return (value < 0 ? MINUS : "+") + shown;
}

/** `a`, `a and b`, `a, b and c`. */
export function joined(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}`;
}

/** The function, run when it has not been called for some time; `cancel` forgets a call. */
export function debounced(work, milliseconds) {
  let timer;
  const later = (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...values), milliseconds);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}
