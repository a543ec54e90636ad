// Objective weights with their intervals, and a slider for each: counts of emphasis, or leave out.

import { fill, h, plain } from "./dom.js";

const SHOWN = 12;
const STEPS = 200;

/** Counts that the slider reaches: enough to make an objective decide whatever the model says. */
const reach = (total) => Math.max(10, 10 ** Math.ceil(Math.log10(total * 5)));

const toCount = (position, most) => {
  const count = most * (position / STEPS) ** 3;
  return count < 10 ? Math.round(count * 10) / 10 : Number(count.toPrecision(2));
};
const toPosition = (count, most) => Math.round(STEPS * Math.min(count / most, 1) ** (1 / 3));

/** The panel of a model's objectives. `changed` is called after its steering was changed in place. */
export class WeightsPanel {
  constructor(model, steering, changed) {
    this.model = model;
    this.steering = steering;
    this.changed = changed;
    this.all = false;
    this.rows = new Map();
    this.list = h("ul", { class: "objectives" });
    this.words = h("div", { class: "words" });
    this.more = h("button", { type: "button", class: "quiet", on: { click: () => this.#toggle() } });
    this.reset = h("button", { type: "button", class: "quiet", on: { click: () => this.#reset() } }, "Undo all steering");
    this.element = h("div", {}, this.list, h("p", { class: "row" }, this.more, this.reset), this.words);
  }

  /** Rows for the objectives of a posterior, the heaviest first; they keep their places while sliders move. */
  build(posterior) {
    const names = [...posterior.objectives].sort((one, other) => (
      posterior.weights[posterior.objectives.indexOf(other)] - posterior.weights[posterior.objectives.indexOf(one)]
    ));
    const order = names.join("\n");
    this.most = posterior.concentration ? reach(posterior.concentration.reduce((a, b) => a + b, 0)) : 0;
    if (order === this.order) return;
    this.order = order;
    this.rows = new Map(names.map((name) => [name, this.#row(name)]));
    fill(this.list, [...this.rows.values()].map((row) => row.element));
    this.#show();
  }

  #row(name) {
    const id = `${this.model.path}-${name}`;
    const row = { bar: h("span", { class: "bar" }), whisker: h("span", { class: "whisker" }), value: h("span", { class: "number" }) };
    row.keep = h("input", {
      type: "checkbox", "data-key": `keep-${id}`, "aria-label": `Use ${name}`,
      on: { change: () => this.#leaveOut(name, !row.keep.checked) },
    });
    if (this.model.can_emphasize) {
      row.slider = h("input", {
        type: "range", min: 0, max: STEPS, step: 1, "data-key": `slider-${id}`, "aria-label": `Emphasize ${name}`,
        on: { input: () => this.#emphasize(name, toCount(Number(row.slider.value), this.most)) },
      });
      row.count = h("input", {
        type: "number", min: 0, max: 1000000, step: "any", placeholder: "0", "data-key": `count-${id}`, "aria-label": `Counts for ${name}`,
        on: { input: () => this.#emphasize(name, Math.min(Math.max(Number(row.count.value) || 0, 0), 1e6)) },
      });
    }
    row.element = h(
      "li", { "data-objective": name },
      h("label", { class: "name" }, row.keep, h("bdi", {}, name)),
      h("span", { class: "track", "aria-hidden": "true" }, row.bar, row.whisker), row.value,
      row.slider && h("span", { class: "steer" }, row.slider, h("span", { class: "plus", "aria-hidden": "true" }, "+"), row.count),
    );
    return row;
  }

  #emphasize(name, count) {
    if (count > 0) this.steering.emphasis[name] = count; else delete this.steering.emphasis[name];
    this.changed();
  }

  #leaveOut(name, out) {
    const others = this.steering.without.filter((other) => other !== name);
    if (out && others.length + 1 === this.model.objectives.length) {
      this.rows.get(name).keep.checked = true;
      this.note("At least one objective must remain.");
      return;
    }
    this.steering.without.splice(0, Infinity, ...others, ...(out ? [name] : []));
    this.changed();
  }

  #reset() {
    this.steering.emphasis = {};
    this.steering.without = [];
    this.changed();
  }

  #toggle() {
    this.all = !this.all;
    this.#show();
  }

  #show() {
    const few = this.rows.size <= SHOWN + 2;
    [...this.rows.entries()].forEach(([name, row], place) => {
      const touched = name in this.steering.emphasis || this.steering.without.includes(name);
      row.element.hidden = !few && !this.all && place >= SHOWN && !touched;
    });
    this.more.hidden = few;
    this.more.textContent = this.all ? `Show the ${SHOWN} heaviest` : `Show all ${this.rows.size} objectives`;
  }

  note(sentence) {
    fill(this.words, h("p", { role: "status" }, sentence));
  }

  /** Show weights as evaluated; `answer` is the server's, for what training says of intervals. */
  update(view, answer) {
    const { weights, intervals } = view;
    const certain = !weights.concentration || !answer.identifiability.intervals;
    const largest = Math.max(...weights.mean, ...(certain ? [] : intervals.map(([, high]) => high)), 1e-9);
    for (const [name, row] of this.rows) {
      const k = weights.names.indexOf(name);
      const count = this.steering.emphasis[name] ?? 0;
      row.keep.checked = k >= 0;
      row.element.classList.toggle("out", k < 0);
      row.element.classList.toggle("touched", count > 0);
      const [low, high] = k < 0 || certain ? [0, 0] : intervals[k];
      row.bar.style.width = `${k < 0 ? 0 : (100 * weights.mean[k]) / largest}%`;
      row.whisker.hidden = k < 0 || certain;
      row.whisker.style.left = `${(100 * low) / largest}%`;
      row.whisker.style.width = `${(100 * (high - low)) / largest}%`;
      const range = k < 0 || certain ? "" : ` [${plain(low)}, ${plain(high)}]`;
      fill(row.value, k < 0 ? "left out" : [plain(weights.mean[k]), h("span", { class: "range" }, range)]);
      if (row.slider) this.#sliders(row, count, k < 0);
    }
    this.reset.hidden = !Object.keys(this.steering.emphasis).length && !this.steering.without.length;
    this.#show();
    fill(this.words, this.#sentences(weights, answer).map((words) => h("p", {}, words)));
  }

  #sliders(row, count, disabled) {
    row.slider.disabled = disabled;
    row.count.disabled = disabled;
    if (document.activeElement !== row.slider) row.slider.value = toPosition(count, this.most);
    if (document.activeElement !== row.count) row.count.value = count || "";
    row.slider.setAttribute("aria-valuetext", count === 1 ? "1 count" : `${count} counts`);
  }

  #sentences(weights, answer) {
    const words = [];
    if (weights.concentration) {
      words.push("A slider adds counts to an objective, as if so many more votes had named it. A box without its tick leaves the objective out.");
      const added = Object.entries(this.steering.emphasis)
        .reduce((total, [name, count]) => total + (weights.names.includes(name) ? count : 0), 0);
      const own = weights.total - added;
      const sum = added ? ` = ${plain(own, 1)} of the model + ${plain(added, 1)} of emphasis` : "";
      words.push(`Total concentration ${plain(weights.total, 1)}${sum}. ${answer.counts_meaning}`);
    } else if (this.model.objectives.length > 1) {
      words.push("The weights of this model carry no uncertainty: no counts can be added to them, but objectives can be left out.");
    }
    if (answer.judged_as) words.push(answer.judged_as.statement);
    if (this.steering.without.length) words.push("The weights of the objectives that remain add up to 1 again.");
    return words;
  }
}
