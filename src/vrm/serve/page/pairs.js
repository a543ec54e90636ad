// Two completions against each other: probabilities, ties, disagreement, reasons, and where the uncertainty comes from.

import { badge, fill, h, joined, label, plain, signed } from "./dom.js";
import { pairOf, ranking, turningPoints } from "./formulas.js";

const PARTS = {
  features: ["features", "how good is it?"],
  weights: ["weights", "what matters here?"],
  interaction: ["interaction", "both at once"],
  parameters: ["parameters", "does it know such texts?"],
};

const percent = (value) => `${(100 * value).toFixed(0)}\u00a0%`;

const MOST_COUNTS = 1e5;
const SUGGESTED = 3;

/** The panel of pairs; it keeps which pair is looked at. `steer` is called with a change that a person tries. */
export class PairsPanel {
  constructor(steer) {
    this.steer = steer;
    this.chosen = null;
    this.element = h("div", { class: "pairs" });
  }

  update(view, answer) {
    this.last = [view, answer];
    const count = view.completions.length;
    if (count < 2) {
      const lone = uncertainty(view.completions[0], answer, "this reward");
      fill(this.element, h("p", {}, "With a second completion, the two are compared here."), lone);
      return;
    }
    const [best, next] = ranking(view);
    const [i, j] = this.chosen && Math.max(...this.chosen) < count ? this.chosen : [best, next];
    fill(this.element, count > 2 && this.#matrix(view, i, j), this.#detail(view, answer, i, j));
  }

  #choose(i, j) {
    this.chosen = [i, j];
    this.update(...this.last);
  }

  #matrix(view, first, second) {
    const places = view.completions.map((_, i) => i);
    return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Probabilities of all pairs" }, h(
      "table", { class: "matrix" },
      h("caption", {}, "Probability that the completion of the row is preferred to that of the column"),
      h("thead", {}, h("tr", {}, h("td", {}), places.map((j) => h("th", { scope: "col" }, badge(j))))),
      h("tbody", {}, places.map((i) => h("tr", {}, h("th", { scope: "row" }, badge(i)), places.map((j) => {
        if (i === j) return h("td", {}, h("span", { class: "muted", "aria-label": "itself" }, "\u2013"));
        const { probability } = pairOf(view, i, j);
        const depth = probability === null ? 0 : Math.abs(probability - 0.5) * 2;
        return h("td", {}, h("button", {
          type: "button", class: `cell ${probability >= 0.5 ? "for" : "against"}`, "data-key": `pair-${i}-${j}`,
          "aria-pressed": String((i === first && j === second) || (i === second && j === first)),
          "aria-label": `${label(i)} against ${label(j)}: ${probability === null ? "unknown" : percent(probability)}`,
          style: { "--depth": `${Math.round(depth * 45)}%` }, on: { click: () => this.#choose(i, j) },
        }, probability === null ? "\u2026" : percent(probability)));
      })))),
    ));
  }

  #detail(view, answer, one, other) {
    const ahead = pairOf(view, one, other).mean >= 0;
    const [i, j] = ahead ? [one, other] : [other, one];
    const pair = pairOf(view, i, j);
    const facts = [
      pair.tie > 0 && ["A rater calls it a tie", percent(pair.tie)],
      pair.disagreement !== null && ["Two raters say something different", percent(pair.disagreement)],
      ["Margin, in log-odds", signed(pair.mean)],
    ].filter(Boolean);
    return h(
      "div", { class: "detail" },
      h("p", { class: "verdict" }, badge(i), " is preferred to ", badge(j), pair.probability === null ? "" : [
        " with probability ", h("strong", { "data-probability": pair.probability }, percent(pair.probability))], "."),
      h("p", {}, reasons(view, pair)),
      this.#turning(view, pair, i, j),
      h("dl", { class: "facts" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
      uncertainty(pair, answer, "this margin"),
    );
  }

  /** Single changes that put the other one ahead, each with a button that makes it. */
  #turning(view, pair, i, j) {
    if (view.weights.names.length < 2) return null;
    const { counts, without } = turningPoints(view, pair, MOST_COUNTS);
    const tries = [
      ...counts.slice(0, SUGGESTED).map(([name, count]) => [`${beyond(count)} counts for ${name}`, { name, count: beyond(count) }]),
      ...without.slice(0, SUGGESTED).map((name) => [`without ${name}`, { name, count: null }]),
    ];
    if (!tries.length) return h("p", { class: "muted" }, "No single objective, emphasized or left out, puts the other one ahead.");
    return h("div", { class: "turning", role: "group", "aria-label": `What would put ${label(j)} before ${label(i)}` },
      h("span", {}, "What would put ", badge(j), " ahead: "),
      tries.map(([words, change]) => h("button", { type: "button", "data-key": `try-${words}`, on: { click: () => this.steer(change) } }, words)));
  }
}

/** A count that takes a margin across 0, in two digits, rounded up. */
function beyond(count) {
  const unit = 10 ** (Math.floor(Math.log10(count)) - 1);
  return Number((Math.ceil((count * 1.02) / unit) * unit).toPrecision(3));
}

/** The largest contributions in words, as `vrm explain` has them. */
function reasons(view, pair) {
  const named = view.weights.names.map((name, k) => [name, pair.contributions[k]])
    .filter(([, value]) => Math.abs(value) >= 0.005)
    .sort(([, one], [, other]) => Math.abs(other) - Math.abs(one)).slice(0, 3);
  const side = (words, keep) => {
    const values = named.filter(([, value]) => keep(value)).map(([name, value]) => `${name} ${signed(value)}`);
    return values.length ? `${words} ${joined(values)}` : "";
  };
  const found = [side("because of", (value) => value > 0), side("in spite of", (value) => value < 0)].filter(Boolean).join(", ");
  if (!found) return "For no visible reason.";
  return `${found[0].toUpperCase()}${found.slice(1)}.`;
}

/** A variance in its parts, as a bar and in words; where training shows no uncertainty, the sentence that says so. */
function uncertainty(found, answer, what) {
  if (!answer.identifiability.intervals || found.variance <= 0) {
    return h("p", { class: "muted" }, "Where uncertainty comes from is not shown: training does not tell how unsure the model should be.");
  }
  const parts = Object.entries(found.parts).filter(([name, value]) => value > 0 || name !== "parameters");
  return h(
    "div", { class: "uncertainty" },
    h("h4", {}, `Where the uncertainty of ${what} comes from (standard deviation ${plain(Math.sqrt(found.variance))})`),
    h("div", { class: "stack", "aria-hidden": "true" }, parts.map(([name, value]) => (
      h("span", { class: `part-${name}`, style: { width: `${(100 * value) / found.variance}%` } })))),
    h("ul", { class: "legend" }, parts.map(([name, value]) => h(
      "li", {}, h("span", { class: `swatch part-${name}`, "aria-hidden": "true" }), `${percent(value / found.variance)} `,
      h("span", {}, `${PARTS[name][0]}: ${PARTS[name][1]}`)))),
  );
}
