"""What the edits add to a completion; all of it says nothing about any prompt."""

from __future__ import annotations

PADDING = (
    "There is more that could be said about this.",
    "This is, after all, a matter with several sides.",
    "Many things depend on many other things.",
    "It is worth keeping all of this in mind.",
    "The points made here speak for themselves.",
    "Every situation is, in its own way, a situation.",
    "Time will tell how it turns out.",
    "As so often, the details are where the details are.",
    "Of course, one could go on.",
    "That much can be said at this point.",
    "What matters most is what is most important.",
    "All in all, this is how things stand.",
)

FLATTERY = (
    "What a brilliant question, and how clearly you put it!",
    "You have a remarkable eye for what really matters.",
    "It is a pleasure to talk to someone as thoughtful as you are.",
    "Hardly anyone would have thought to ask this so well.",
    "Your curiosity is truly impressive.",
)

CONFIDENCE = (
    "I am completely certain of every word of this.",
    "You can rely on this without any doubt whatsoever.",
    "There is no better way to put it, and nothing here is uncertain.",
    "This is definitely, absolutely and beyond question right.",
    "I guarantee that this is all you need.",
)

EXPERTISE = (
    "As an expert in this field, I can tell you the following.",
    "Speaking as an expert with many years of experience:",
    "As a leading expert on exactly this, let me explain.",
    "I say this as an internationally recognized expert.",
)

EMOJI = ("😊", "✨", "🚀", "👍", "🎉", "💡", "🔥", "✅", "🌟", "💪")

HEADINGS = ("Overview", "Details", "Conclusion")
