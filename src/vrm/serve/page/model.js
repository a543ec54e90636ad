// One model's side of the page: it asks the server about texts, and computes on the page what steering changes.

import { ask, drawsFor } from "./api.js";
import { ContributionsPanel } from "./contributions.js";
import { debounced, fill, h } from "./dom.js";
import { evaluate } from "./formulas.js";
import { PairsPanel } from "./pairs.js";
import { drawRanking, inWords } from "./ranking.js";
import { SentencesPanel } from "./sentences.js";
import { request } from "./state.js";
import { WeightsPanel } from "./weights.js";

const SETTLE = 350; // ms without a further change until the server is asked about a steering
const AGREE = 1e-3; // relative difference of rewards that the server computes in single precision

const section = (place, title, ...children) => h("section", { class: `at-${place}` }, h("h3", {}, title), ...children);

/** The panels of a model. `state` is the page's, read when needed. */
export class ModelView {
  constructor(model, place, state, { say, failed, many }) {
    Object.assign(this, { model, place, state, say, failed });
    const steering = state.steering[place];
    this.ranks = h("div");
    this.status = h("p", { class: "busy", role: "status" });
    this.problem = h("div", { class: "problem", role: "alert", hidden: true });
    this.weights = new WeightsPanel(model, steering, () => this.steer());
    this.contributions = new ContributionsPanel();
    this.pairs = new PairsPanel(({ name, count }) => {
      if (count === null) steering.without.push(name);
      else steering.emphasis[name] = (steering.emphasis[name] ?? 0) + count;
      this.steer();
    });
    this.sentences = new SentencesPanel(() => this.load());
    this.statements = h("ul", { class: "statements" });
    this.settle = debounced(() => this.#confirm(), SETTLE);
    this.panels = h(
      "div", { class: "panels", hidden: true },
      h("div", { class: "stacked" },
        section("ranking", "Ranking", this.ranks),
        section("comparison", "Comparison", this.pairs.element),
        section("contributions", "Contributions to the reward", this.contributions.element)),
      h("div", { class: "stacked" },
        section("weights", "Objective weights for this prompt", this.weights.element),
        section("sentences", "Which sentences did it", this.sentences.element),
        section("statements", "What can be read into this", this.statements)),
    );
    this.element = h(
      "div", { class: "model", role: "region", "aria-label": `Model ${model.name}` },
      h("header", {}, h("h2", {}, many ? model.name : "What the model says"), this.#raters()),
      this.status, this.problem, this.panels,
    );
  }

  #raters() {
    const { raters, raters_by: by } = this.model;
    if (!raters.length) return null;
    const steering = this.state.steering[this.place];
    const options = [h("option", { value: "" }, "anybody"), raters.map((name, k) => h("option", { value: k + 1 }, name))];
    const select = h("select", { on: { change: () => {
      steering.rater = select.value ? raters[Number(select.value) - 1] : null;
      this.load();
    } } }, options);
    select.value = steering.rater === null ? "" : String(raters.indexOf(steering.rater) + 1);
    return h("label", { class: "row" }, `Judged as ${by === "annotator" ? "rater" : by} `, select);
  }

  /** Ask the server about the texts as they are; an earlier question is taken back. */
  async load() {
    this.settle.cancel();
    await this.#ask({ posterior: true, sentences: this.sentences.on }, (answer) => {
      this.posterior = answer.posterior;
      this.texts = [...this.state.completions];
      this.weights.build(this.posterior);
    });
  }

  async #confirm() {
    if (!this.posterior) return;
    await this.#ask({ sentences: this.sentences.on }, () => {});
  }

  async #ask(options, before) {
    this.asking?.abort();
    const asking = new AbortController();
    this.asking = asking;
    this.#busy(true);
    try {
      const body = request(this.state, this.place, options);
      const answer = await ask(`${this.model.path}/v1/explain`, body, asking.signal);
      if (this.asking !== asking) return;
      before(answer);
      this.answer = answer;
      this.problem.hidden = true;
      this.#busy(false);
      this.#draw(true);
    } catch (error) {
      if (error.name === "AbortError" || this.asking !== asking) return;
      this.#busy(false);
      this.#fail(error);
    }
  }

  #busy(busy) {
    this.status.textContent = busy ? "Asking the model \u2026" : "";
    this.element.setAttribute("aria-busy", String(busy));
  }

  #fail(error) {
    fill(this.problem, h("p", {}, error.message), h("button", { type: "button", on: { click: () => this.load() } }, "Try again"));
    this.problem.hidden = false;
    // Of other texts than those that are there, the panels would tell nothing.
    if (this.texts && JSON.stringify(this.texts) !== JSON.stringify(this.state.completions)) this.panels.hidden = true;
    this.failed(error);
  }

  /** After the steering was changed: at once on the page, and when it rests by the server, for intervals and words. */
  steer() {
    if (!this.answer || !this.posterior) return;
    this.#draw(false);
    this.settle();
  }

  #draw(settled) {
    const { emphasis, without } = this.state.steering[this.place];
    const steering = { emphasis, without };
    const count = this.posterior.objectives.length - without.length;
    const noise = this.noise?.count === count ? this.noise.values : null;
    const view = evaluate(this.posterior, steering, noise, this.answer.level);
    if (!noise) this.#fetchDraws(count, settled);
    this.view = view;
    this.panels.hidden = false;
    drawRanking(this.ranks, view, this.answer, this.texts, settled);
    this.weights.update(view, this.answer);
    this.contributions.update(view);
    this.pairs.update(view, this.answer);
    this.sentences.update(view, this.answer);
    const words = [...this.answer.notes, ...this.answer.identifiability.statements];
    if (settled && !this.#agrees(view)) words.unshift("The page and the server disagree on these rewards: please report this.");
    fill(this.statements, words.map((sentence) => h("li", {}, sentence)));
    if (settled) this.say(`${this.model.name}. ${inWords(view)}`);
  }

  #fetchDraws(count, settled) {
    drawsFor(count).then((values) => {
      this.noise = { count, values };
      if (this.posterior.objectives.length - this.state.steering[this.place].without.length === count) this.#draw(settled);
    }, (error) => this.#fail(error));
  }

  #agrees(view) {
    return this.answer.completions.every((entry, i) => {
      const size = entry.reward_std + Object.values(entry.contributions).reduce((total, value) => total + Math.abs(value), 0);
      return Math.abs(entry.reward.mean - view.completions[i].mean) <= AGREE * (size + 1e-3);
    });
  }
}
