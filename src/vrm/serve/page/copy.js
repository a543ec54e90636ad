// The state as a link, as the body of a request, as Python, and as a command.

import { h } from "./dom.js";
import { earlier, encode, request, textOf } from "./state.js";

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** A value as Python writes it. */
export function python(value, indent = "") {
  const deeper = `${indent}    `;
  if (value === null) return "None";
  if (value === true || value === false) return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const list = Array.isArray(value);
  const entries = list ? value.map((entry) => python(entry, deeper))
    : Object.entries(value).map(([key, entry]) => `${JSON.stringify(key)}: ${python(entry, deeper)}`);
  const [open, close] = list ? "[]" : "{}";
  if (!entries.length) return open + close;
  return `${open}\n${entries.map((entry) => `${deeper}${entry},\n`).join("")}${indent}${close}`;
}

export const asLink = (state) => `${location.href.split("#")[0]}#${encode(state)}`;

export const asJson = (state, place) => JSON.stringify(request(state, place), null, 2);

export function asPython(state, place, model) {
  const { prompt, completions, ...options } = request(state, place);
  const url = new URL(`..${model.path}`, document.baseURI).href.replace(/\/$/, "");
  const named = Object.entries(options).map(([name, value]) => `        ${name}=${python(value, "        ")},\n`).join("");
  return `from vrm.client import Client\n\nwith Client(${JSON.stringify(url)}) as client:\n    answer = client.explain(\n`
    + `        ${python(prompt, "        ")},\n        ${python(completions, "        ")},\n${named}    )\n`
    + "    print(answer.weights, answer.completions, answer.pairs)\n";
}

/** The command; null for conversations of several messages, which a command line does not take. */
export function asCommand(state, place, model) {
  const { prompt, completions, emphasis = {}, without = [], rater } = request(state, place);
  if ([prompt, ...completions].some((value) => earlier(value).length)) return null;
  const words = ["vrm explain", quoted(model.source), `--prompt=${quoted(textOf(prompt))}`];
  words.push(...completions.map((value) => `--completion=${quoted(textOf(value))}`));
  words.push(...Object.entries(emphasis).map(([name, count]) => `--emphasize ${quoted(`${name}=${count}`)}`));
  words.push(...without.map((name) => `--without ${quoted(name)}`));
  if (rater !== undefined) words.push(`--rater ${quoted(rater)}`);
  return words.join(" \\\n  ");
}

/** Buttons that copy the state. Where the browser does not let the page write, the text is shown to be copied by hand. */
export function copyButtons(state, models, announce) {
  const shown = h("textarea", { readonly: true, rows: 12, "aria-label": "To copy by hand" });
  const dialog = h("dialog", {}, h("p", {}, "Copy this text:"), shown, h("form", { method: "dialog" }, h("button", {}, "Close")));
  const copy = async (text, what) => {
    if (text === null) {
      announce("A command takes no conversation of several messages: copy it as Python or JSON.");
      return;
    }
    try {
      await navigator.clipboard.writeText(text);
      announce(`${what} copied.`);
    } catch {
      shown.value = text;
      dialog.showModal();
      shown.select();
    }
  };
  const button = (words, make) => h("button", { type: "button", class: "quiet", on: { click: () => copy(make(), words) } }, words);
  const each = models.flatMap((model, place) => {
    const of = models.length > 1 ? ` (${model.name})` : "";
    return [
      button(`JSON${of}`, () => asJson(state, place)), button(`Python${of}`, () => asPython(state, place, model)),
      button(`Command${of}`, () => asCommand(state, place, model)),
    ];
  });
  return h("div", { class: "copy", role: "group", "aria-label": "Copy" }, h("span", { class: "muted" }, "Copy as"), button("Link", () => asLink(state)), each, dialog);
}
