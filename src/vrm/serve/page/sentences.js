// Which sentences did it: each completion's sentences, shaded by what leaving them out does to the reward.

import { badge, fill, h, signed } from "./dom.js";

/** The panel of sentences. `wanted` is called when they are asked for the first time. */
export class SentencesPanel {
  constructor(wanted) {
    this.on = false;
    this.by = "";
    this.button = h("button", { type: "button", on: { click: () => { this.on = true; wanted(); } } }, "Leave out each sentence in turn");
    this.select = h("select", { "data-key": "by", on: { change: () => { this.by = this.select.value; this.update(...this.last); } } });
    this.choice = h("label", { class: "row", hidden: true }, "Shaded by ", this.select);
    this.texts = h("div", { class: "shaded" });
    this.legend = h("p", { class: "muted", hidden: true }, "Blue, with a line under it: the sentence raises the reward. Orange, with dots: "
      + "the reward is higher without it. The number is the difference, in raw units of the reward.");
    this.element = h("div", {}, h("p", { class: "row" }, this.button, this.choice), this.texts, this.legend);
  }

  update(view, answer) {
    this.last = [view, answer];
    this.button.hidden = this.on;
    this.choice.hidden = this.legend.hidden = !this.on || !answer.sentences;
    if (!this.on) return;
    if (!answer.sentences) {
      fill(this.texts, h("p", { class: "muted", role: "status" }, "Judging each completion without each of its sentences \u2026"));
      return;
    }
    const { names } = view.weights;
    if (!names.includes(this.by)) this.by = "";
    fill(this.select, h("option", { value: "" }, "the reward"), names.map((name) => h("option", { value: name }, name)));
    this.select.value = this.by;
    const effect = (sentence) => names.reduce((total, name, k) => (
      this.by && name !== this.by ? total : total + view.factors[k] * sentence.scores[name]), 0);
    const all = answer.sentences.flatMap((entry) => entry.sentences.map(effect));
    const most = Math.max(...all.map(Math.abs), 1e-9);
    fill(this.texts, answer.sentences.map((entry, i) => h("div", { class: "text", dir: "auto" }, badge(i), " ", shaded(entry, answer.completions[i].text, effect, most))));
  }
}

function shaded(entry, text, effect, most) {
  if (!entry.sentences.length) return [text, h("span", { class: "muted" }, " (one sentence, which cannot be left out)")];
  return entry.sentences.map((sentence) => {
    const value = effect(sentence);
    const depth = `${Math.round((45 * Math.abs(value)) / most)}%`;
    const kind = Math.abs(value) < 0.005 ? "nothing" : value < 0 ? "against" : "for";
    const { text } = sentence;
    const [start, end] = [text.length - text.trimStart().length, text.trimEnd().length];
    return [text.slice(0, start), h(
      "span", { class: `sentence ${kind}`, style: { "--depth": depth }, "data-effect": value },
      text.slice(start, end), h("span", { class: "effect", dir: "ltr" }, `\u00a0${signed(value)}`)), text.slice(end)];
  });
}
