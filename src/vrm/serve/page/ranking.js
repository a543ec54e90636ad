// The completions by reward, the best first, each with its interval.

import { badge, fill, h, label, signed } from "./dom.js";
import { ranking } from "./formulas.js";
import { textOf } from "./state.js";

/** Interval of a reward: the server's once it has answered for this steering, before that its width by the new spread. */
export function rewardInterval(view, answer, i) {
  const given = answer.completions[i];
  const { mean, variance } = view.completions[i];
  const scale = given.reward_std > 0 ? Math.sqrt(variance) / given.reward_std : 0;
  return [mean + scale * (given.reward.low - given.reward.mean), mean + scale * (given.reward.high - given.reward.mean)];
}

/** Draw the ranking into a container; `settled` says whether the server has answered for this steering. */
export function drawRanking(container, view, answer, completions, settled) {
  const order = ranking(view);
  const shown = answer.identifiability.intervals;
  const ranges = view.completions.map((entry, i) => (shown ? rewardInterval(view, answer, i) : [entry.mean, entry.mean]));
  const low = Math.min(0, ...ranges.map(([from]) => from));
  const high = Math.max(0, ...ranges.map(([, to]) => to));
  const at = (value) => (100 * (value - low)) / (high - low || 1);
  fill(container, h("ol", { class: "ranking" }, order.map((i) => {
    const { mean } = view.completions[i];
    const [from, to] = ranges[i];
    const range = shown ? `[${signed(from)}, ${signed(to)}]` : "";
    const strange = answer.completions[i].unfamiliarity;
    return h(
      "li", { "data-completion": label(i) },
      h("span", { class: "head" }, badge(i), h("span", { class: "excerpt", dir: "auto" }, textOf(completions[i]).trim() || "(empty)")),
      h("span", { class: "track", "aria-hidden": "true" },
        h("span", { class: `bar series-${i % 8}`, style: { left: `${at(Math.min(0, mean))}%`, width: `${at(Math.max(0, mean)) - at(Math.min(0, mean))}%` } }),
        shown && h("span", { class: settled ? "whisker" : "whisker rough", style: { left: `${at(from)}%`, width: `${at(to) - at(from)}%` } }),
        h("span", { class: "zero", style: { left: `${at(0)}%` } })),
      h("span", { class: "number" }, h("strong", {}, signed(mean)), h("span", { class: "range" }, ` ${range}`)),
      strange && strange.distance > 1 && h("span", { class: "flag", title: strangeness(strange) }, "unlike the training texts"),
    );
  })));
}

function strangeness(strange) {
  return `${strange.distance.toFixed(2)} times the distance that 95 % of familiar texts keep to.`;
}

/** The ranking in words, for those who hear the page. */
export const inWords = (view) => `Ranking: ${ranking(view).map(label).join(", ")}.`;
