// The left side: prompt and completions, written, added and removed.

import { badge, fill, h, label } from "./dom.js";
import { earlier, textOf, withText } from "./state.js";

/** A field that grows with its text. */
function field(text, name, changed) {
  const area = h("textarea", { rows: 2, dir: "auto", spellcheck: "false", "aria-label": name, "data-key": name });
  area.value = text;
  const grow = () => {
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight + 2, 420)}px`;
  };
  area.addEventListener("input", () => { grow(); changed(area.value); });
  requestAnimationFrame(grow);
  return area;
}

/** The editor. `changed(now)` is called after the state was changed in place; with `now` it need not wait for more. */
export class TextsPanel {
  constructor(state, most, changed) {
    Object.assign(this, { state, most, changed });
    this.prompt = h("div");
    this.completions = h("ol", { class: "completions" });
    this.add = h("button", { type: "button", on: { click: () => this.#add() } }, "Add a completion");
    this.element = h(
      "div", { class: "texts", on: { keydown: (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) changed(true); } } },
      h("h2", {}, "Prompt"), this.prompt, h("h2", {}, "Completions"), this.completions, h("p", { class: "row" }, this.add),
    );
    this.draw();
  }

  draw() {
    const { state } = this;
    fill(this.prompt, turns(state.prompt), field(textOf(state.prompt), "Prompt", (text) => {
      state.prompt = withText(state.prompt, text);
      this.changed(false);
    }));
    fill(this.completions, state.completions.map((value, i) => h(
      "li", {}, badge(i),
      h("div", {}, turns(value), field(textOf(value), `Completion ${label(i)}`, (text) => {
        state.completions[i] = withText(value, text);
        this.changed(false);
      })),
      h("button", {
        type: "button", class: "quiet", "aria-label": `Remove completion ${label(i)}`, title: "Remove",
        disabled: state.completions.length === 1, on: { click: () => this.#remove(i) },
      }, "\u00d7"),
    )));
    this.add.disabled = state.completions.length >= this.most;
    this.add.title = this.add.disabled ? `At most ${this.most} completions` : "";
  }

  #add() {
    const empty = typeof this.state.completions[0] === "string" ? "" : [{ role: "assistant", content: "" }];
    this.state.completions.push(empty);
    this.draw();
    this.completions.querySelector("li:last-child textarea").focus();
    this.changed(false);
  }

  #remove(i) {
    this.state.completions.splice(i, 1);
    this.draw();
    this.add.focus();
    this.changed(true);
  }
}

/** Messages before the one that is edited. */
function turns(value) {
  const messages = earlier(value);
  if (!messages.length) return null;
  return h("details", { class: "turns" }, h("summary", {}, messages.length === 1 ? "1 earlier message" : `${messages.length} earlier messages`),
    messages.map((message) => h("p", { dir: "auto" }, h("strong", {}, `${message.role}: `), textOf([message]))));
}
