// Rows of a file, to browse, filter and sort; without a file a few examples.

import { ask } from "./api.js";
import { fill, h, plain, signed } from "./dom.js";
import { EXAMPLES } from "./state.js";

const PAGE = 40;

const ORDERS = {
  file: ["as in the file", () => 0],
  mistakes: ["most confident mistakes first", (row) => (row.has_chosen ? row.probability ?? 2 : 2)],
  close: ["closest first", (row) => (row.probability === null ? 2 : Math.abs(row.probability - 0.5))],
  disagreement: ["raters disagree most first", (row) => -(row.disagreement ?? -1)],
  unfamiliarity: ["least familiar first", (row) => -(row.unfamiliarity ?? -1)],
  models: ["models disagree most first", (row) => -Math.abs((row.probability ?? 0) - (row.other_probability ?? row.probability ?? 0))],
};

const FILTERS = {
  all: ["all rows", () => true],
  wrong: ["the model prefers another than the chosen", (row) => row.has_chosen && row.margin !== null && row.margin < 0],
  right: ["the model prefers the chosen", (row) => row.has_chosen && row.margin !== null && row.margin > 0],
  unfamiliar: ["unlike the training texts", (row) => row.unfamiliarity !== null && row.unfamiliarity > 1],
  divided: ["two raters likely differ (over 40 %)", (row) => row.disagreement !== null && row.disagreement > 0.4],
  opposed: ["the models prefer different ones", (row) => (row.other_probability ?? null) !== null
    && (row.probability - 0.5) * (row.other_probability - 0.5) < 0],
};

const select = (name, options, changed) => {
  const element = h("select", { on: { change: () => changed(element.value) } }, options.map(([value, words]) => h("option", { value }, words)));
  return [h("label", {}, `${name} `, element), element];
};

/** The panel of rows. `open({prompt, completions})` shows one. */
export class RowsPanel {
  constructor(open, failed) {
    Object.assign(this, { open, failed, rows: [], order: "file", filter: "all", category: "", words: "", shown: PAGE });
    // On a narrow screen what the model says would stand far below a long list.
    this.element = h("details", { class: "rows", open: window.matchMedia("(min-width: 62rem)").matches });
  }

  examples() {
    fill(this.element, h("summary", {}, h("h2", {}, "Examples")), h("ul", { class: "gallery" }, EXAMPLES.map((example) => h("li", {}, h(
      "button", { type: "button", class: "quiet", on: { click: () => this.open(structuredClone(example)) } }, example.prompt)))));
  }

  /** Read the rows, and open the first; the caller shows what goes wrong. */
  async load(openFirst) {
    const answer = await ask("/v1/rows");
    this.rows = answer.rows.map((row, index) => ({ ...row, index }));
    this.#build(answer);
    this.#draw();
    if (openFirst) await this.#open(this.rows[answer.first]);
  }

  #build(answer) {
    const has = (key) => this.rows.some((row) => (row[key] ?? null) !== null && row[key] !== false);
    const present = { mistakes: "has_chosen", close: "margin", wrong: "has_chosen", right: "has_chosen", disagreement: "disagreement", divided: "disagreement", unfamiliarity: "unfamiliarity", unfamiliar: "unfamiliarity", models: "other_probability", opposed: "other_probability" };
    const offered = (table) => Object.entries(table).filter(([key]) => !(key in present) || has(present[key])).map(([key, [words]]) => [key, words]);
    const again = (change) => (value) => { change(value); this.shown = PAGE; this.#draw(); };
    const categories = [...new Set(this.rows.map((row) => row.category).filter(Boolean))].sort();
    const search = h("input", { type: "search", on: { input: () => again((value) => { this.words = value.toLowerCase(); })(search.value) } });
    this.count = h("p", { class: "muted", role: "status" });
    this.list = h("ul", { class: "browse" });
    this.more = h("button", { type: "button", class: "quiet", on: { click: () => { this.shown += PAGE; this.#draw(); } } }, "Show more");
    this.problem = h("p", { class: "problem", role: "alert", hidden: true });
    fill(
      this.element, h("summary", { title: answer.file }, h("h2", {}, "Rows of ", h("bdi", {}, answer.file.split("/").slice(-2).join("/")))), answer.note && h("p", { class: "muted" }, answer.note),
      h("div", { class: "filters" },
        select("Show", offered(FILTERS), again((value) => { this.filter = value; }))[0],
        categories.length > 0 && select("Category", [["", "any"], ...categories.map((name) => [name, name])], again((value) => { this.category = value; }))[0],
        select("Order", offered(ORDERS), again((value) => { this.order = value; }))[0],
        h("label", {}, "Prompt has ", search)),
      this.count, this.problem, this.list, this.more,
    );
  }

  #draw() {
    const [, keep] = FILTERS[this.filter];
    const [, key] = ORDERS[this.order];
    const found = this.rows.filter((row) => keep(row) && (!this.category || row.category === this.category)
      && (!this.words || row.prompt.toLowerCase().includes(this.words)));
    found.sort((one, other) => key(one) - key(other) || one.index - other.index);
    this.count.textContent = `${found.length} of ${this.rows.length} rows`;
    this.more.hidden = found.length <= this.shown;
    fill(this.list, found.slice(0, this.shown).map((row) => h("li", {}, h(
      "button", { type: "button", class: "quiet", "data-key": `row-${row.index}`, "aria-current": String(row.index === this.current), on: { click: () => this.#open(row) } },
      h("span", { class: "excerpt", dir: "auto" }, row.prompt), h("span", { class: "muted" }, details(row))))));
  }

  async #open(row) {
    try {
      const { prompt, completions, note } = await ask(`/v1/rows/${row.index}`);
      this.current = row.index;
      this.#draw();
      this.problem.hidden = true;
      this.open({ prompt, completions }, note);
    } catch (error) {
      this.problem.textContent = error.message;
      this.problem.hidden = false;
      this.failed(error);
    }
  }
}

function details(row) {
  return [
    `line ${row.line}`, row.category,
    row.margin !== null && `margin ${signed(row.margin)}`,
    (row.other_probability ?? null) !== null && `P ${plain(row.probability)} and ${plain(row.other_probability)}`,
    row.disagreement !== null && `raters differ ${(100 * row.disagreement).toFixed(0)} %`,
    row.unfamiliarity !== null && row.unfamiliarity > 1 && `unfamiliar ${plain(row.unfamiliarity)}`,
  ].filter(Boolean).join(" \u00b7 ");
}
