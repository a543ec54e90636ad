// The page: texts on the left, what the model says on the right.

import { ask, setToken } from "./api.js";
import { copyButtons } from "./copy.js";
import { debounced, fill, h } from "./dom.js";
import { ModelView } from "./model.js";
import { RowsPanel } from "./rows.js";
import { decode, initial } from "./state.js";
import { TextsPanel } from "./texts.js";

const TYPING = 600; // ms without a key until the model is asked

const page = document.querySelector("main");
const notice = document.querySelector("#notice");
const heard = document.querySelector("#heard");
const tools = document.querySelector("#tools");

/** Words for all to see, until the next ones. */
function announce(words) {
  notice.textContent = words;
}

/** Words for those who hear the page; others see what they say. */
function say(words) {
  heard.textContent = words;
}

const THEMES = ["auto", "light", "dark"];

function themeButton() {
  const button = h("button", { type: "button", class: "quiet", on: { click: () => {
    const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % THEMES.length];
    document.documentElement.dataset.theme = next;
    button.textContent = `Colours: ${next}`;
  } } }, "Colours: auto");
  return button;
}

/** Ask what is served; where a token is wanted, ask the person for it. */
async function begin() {
  fill(page, h("p", { class: "busy", role: "status" }, "Asking the server \u2026"));
  try {
    show(await ask("/v1/explorer"));
  } catch (error) {
    if (error.status === 401) askToken();
    else fill(page, h("div", { class: "problem", role: "alert" }, h("p", {}, error.message), h("button", { type: "button", on: { click: begin } }, "Try again")));
  }
}

function askToken() {
  const input = h("input", { type: "password", autocomplete: "off", required: true });
  const form = h("form", { class: "token", on: { submit: (event) => {
    event.preventDefault();
    setToken(input.value);
    begin();
  } } }, h("label", {}, "This server wants its token ", input), h("button", {}, "Go on"), h("p", { class: "muted" }, "It is kept until the page is closed, and sent to this server alone."));
  fill(page, form);
  input.focus();
}

function show(served) {
  const { models } = served;
  const linked = location.hash.length > 1 ? decode(location.hash.slice(1), models) : null;
  const state = linked ?? initial(models);
  if (location.hash.length > 1 && !linked) announce("The link holds nothing that this page can show.");
  const failed = (error) => { if (error.status === 401) askToken(); };
  const views = models.map((model, place) => new ModelView(model, place, state, { say, failed, many: models.length > 1 }));
  const load = () => views.forEach((view) => view.load());
  const later = debounced(load, TYPING);
  const texts = new TextsPanel(state, served.max_completions, (now) => {
    later.cancel();
    if (now) load(); else later();
  });
  const rows = new RowsPanel((row, note = "") => {
    Object.assign(state, row);
    views.forEach((view) => { view.pairs.chosen = null; });
    texts.draw();
    load();
    announce(note);
  }, failed);
  document.title = `${models.map((model) => model.name).join(" and ")} \u2013 VRM explorer`;
  document.querySelector("#served").textContent = models.map((model) => `${model.name} (head ${model.head})`).join(" and ");
  fill(tools, copyButtons(state, models, announce), themeButton());
  fill(page, h("div", { class: "left" }, texts.element, rows.element), h("div", { class: `right models-${models.length}` }, views.map((view) => view.element)));
  if (served.rows > 0) {
    rows.load(!linked).catch((error) => fill(rows.element, h("p", { class: "problem", role: "alert" }, error.message)));
  } else rows.examples();
  if (linked || served.rows === 0) load();
}

begin();
