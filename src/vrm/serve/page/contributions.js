// What each objective adds to each reward: diverging bars of w_k o_k, which add up to the reward.

import { badge, fill, h, label, plain, signed } from "./dom.js";

const SHOWN = 10;

/** The panel of contributions. */
export class ContributionsPanel {
  constructor() {
    this.all = false;
    this.table = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Contributions" });
    this.more = h("button", { type: "button", class: "quiet", on: { click: () => this.#toggle() } });
    this.element = h("div", {}, this.table, h("p", { class: "row" }, this.more));
  }

  #toggle() {
    this.all = !this.all;
    this.update(...this.last);
  }

  update(view) {
    this.last = [view];
    const { names } = view.weights;
    const size = (k) => Math.max(...view.completions.map((entry) => Math.abs(entry.contributions[k])));
    const order = names.map((_, k) => k).sort((one, other) => size(other) - size(one));
    const few = order.length <= SHOWN + 2;
    const shown = few || this.all ? order : order.slice(0, SHOWN);
    const rest = order.filter((k) => !shown.includes(k));
    const most = Math.max(...order.map(size), 1e-9);
    const sums = (entry) => rest.reduce((total, k) => total + entry.contributions[k], 0);
    this.more.hidden = few;
    this.more.textContent = this.all ? `Show the ${SHOWN} largest` : `Show all ${order.length} objectives`;
    fill(this.table, h(
      "table", { class: "contributions" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Objective"), view.completions.map((_, i) => (
        h("th", { scope: "col" }, badge(i), h("span", { class: "unseen" }, ` completion ${label(i)}`)))))),
      h("tbody", {}, shown.map((k) => row(view, names[k], k, most)), rest.length > 0 && h(
        "tr", {}, h("th", { scope: "row" }, `${rest.length} more`),
        view.completions.map((entry) => h("td", {}, h("span", { class: "figure" }, signed(sums(entry))))))),
      h("tfoot", {}, h("tr", {}, h("th", { scope: "row" }, "Reward"), view.completions.map((entry) => (
        h("td", {}, h("strong", {}, signed(entry.mean))))))),
    ));
  }
}

function row(view, name, k, most) {
  return h(
    "tr", { "data-objective": name }, h("th", { scope: "row" }, h("bdi", {}, name)),
    view.completions.map((entry) => {
      const value = entry.contributions[k];
      const title = `weight ${plain(view.factors[k])} times score ${signed(entry.scores[k])}`;
      return h("td", { title }, diverging(value, most), h("span", { class: "figure" }, signed(value)));
    }),
  );
}

/** A bar to the right of a middle line for what speaks for a completion, to the left for what speaks against it. */
export function diverging(value, most) {
  const width = `${(50 * Math.abs(value)) / most}%`;
  const side = value < 0 ? { right: "50%", width } : { left: "50%", width };
  return h("span", { class: "diverging", "aria-hidden": "true" }, h("span", { class: value < 0 ? "against" : "for", style: side }));
}
