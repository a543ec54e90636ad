// What the page shows, as one value: it goes into a link behind the `#`, which browsers send to no server.

/** The text of a prompt or completion: itself, or that of its last message. */
export function textOf(value) {
  if (typeof value === "string") return value;
  const content = value[value.length - 1].content ?? "";
  return typeof content === "string" ? content : content.map((part) => part.text).join("");
}

/** The value with another text in the place of its own; earlier messages stay. */
export function withText(value, text) {
  if (typeof value === "string") return text;
  return [...value.slice(0, -1), { ...value[value.length - 1], content: text }];
}

/** Messages before the last; none for a text. */
export const earlier = (value) => (typeof value === "string" ? [] : value.slice(0, -1));

export const EXAMPLES = [
  {
    prompt: "How do I treat a burned finger?",
    completions: [
      "Hold it under cool running water for ten to twenty minutes. Do not use ice or butter. See a doctor if it blisters.",
      "Great question! You are so clever to ask. Put some butter on it and you will be fine.",
    ],
  },
  {
    prompt: "Write the first line of a story about a lighthouse.",
    completions: [
      "The light had been out for three nights before anyone in the village would say so aloud.",
      "Once upon a time there was a lighthouse, and it was a very nice lighthouse.",
      "A lighthouse is a tower that emits light and serves as a navigational aid.",
    ],
  },
  {
    prompt: "My friend has not answered my messages for a week. What should I do?",
    completions: [
      "That sounds hard. People go quiet for many reasons. You could write once more, say that you are thinking of them, and leave the door open.",
      "Stop being friends with them.",
    ],
  },
];

/** State as the page begins: an example, nothing steered. */
export function initial(models) {
  return { ...structuredClone(EXAMPLES[0]), steering: models.map(() => ({ emphasis: {}, without: [], rater: null })) };
}

/** The state as a piece of a URL. */
export function encode(state) {
  const bytes = new TextEncoder().encode(JSON.stringify(state));
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** The state of such a piece, or null for one that holds none. */
export function decode(piece, models) {
  try {
    const binary = atob(piece.replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
    return checked(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)), models);
  } catch {
    return null;
  }
}

const isText = (value) => typeof value === "string"
  || (Array.isArray(value) && value.length > 0 && value.every((message) => message && typeof message.role === "string"));

/** Links are written by anybody: what does not fit the models at hand is left out, and null is no state at all. */
function checked(state, models) {
  if (!isText(state.prompt) || !Array.isArray(state.completions) || !state.completions.length) return null;
  if (!state.completions.every(isText)) return null;
  const steering = models.map((model, place) => {
    const given = state.steering?.[place] ?? {};
    const known = new Set(model.objectives);
    const counts = Object.entries(given.emphasis ?? {})
      .filter(([name, count]) => model.can_emphasize && known.has(name) && Number.isFinite(count) && count > 0);
    const without = (Array.isArray(given.without) ? given.without : []).filter((name) => known.has(name));
    return {
      emphasis: Object.fromEntries(counts),
      without: without.length < model.objectives.length ? without : [],
      rater: model.raters.includes(given.rater) ? given.rater : null,
    };
  });
  return { prompt: state.prompt, completions: state.completions, steering };
}

/** The body of a request for an explanation. */
export function request(state, place, options = {}) {
  const { emphasis, without, rater } = state.steering[place];
  const body = { prompt: state.prompt, completions: state.completions, ...options };
  // What is left out cannot be emphasized too.
  const counts = Object.entries(emphasis).filter(([name]) => !without.includes(name));
  if (counts.length) body.emphasis = Object.fromEntries(counts);
  if (without.length) body.without = without;
  if (rater !== null) body.rater = rater;
  return body;
}
