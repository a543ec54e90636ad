"""Fragments that show how inventive a completion is."""

from vrm.data.planted.text import Objective, pool

_LOW = pool(
    train="""
    {Boring|Dull|Bland} standard routine.
    Copy the {standard|default|generic} template.
    Same {old|boring|tired} routine again.
    A {generic|conventional|dull} default version.
    Ordinary, plain and {boring|dull|bland}.
    Repeat the usual {formula|cliche|pattern}.
    Stick to {standard|default} conventions.
    Just the usual boilerplate.
    Predictable, {stale|boring} and plain.
    A {dull|boring|bland} copy.
    Reuse the {same|old} template.
    Plain {routine|convention}, as always.
    The typical textbook pattern.
    Grey, tedious and ordinary.
    Duplicate the existing standard.
    The most conventional form.
    Cliched and {predictable|stale}.
    Follow the {tedious|usual} convention.
    The standard default settings.
    A drab, dull formula.
    Dull, {uniform|grey} and generic.
    {Predictable|Tedious}, boring template.
    A plain, {standard|generic} copy.
    Boring {old|dull} convention.
    """,
    dev="""
    The same standard routine.
    A dull and generic copy.
    Boring, predictable template.
    Stay with the usual convention.
    Plain and tedious formula.
    The ordinary default pattern.
    Repeat the boring standard.
    """,
    test="""
    Boring routine, as usual.
    Just copy the standard version.
    The usual conventional pattern.
    A stale and generic formula.
    Reuse the dull old template.
    Plain, bland and predictable.
    Repeat the tired cliche.
    Utterly ordinary and dull.
    Default boilerplate again.
    A tedious standard convention.
    """,
)

_MIDDLE = pool(
    train="""
    A {small|slight|minor} twist on tradition.
    {Slightly|Mildly|Somewhat} fresh variation.
    A {modest|little|small} new touch.
    Change the {classic|familiar} version slightly.
    A familiar {classic|theme}, lightly varied.
    One small {variation|change|twist} added.
    Adjust the classic a little.
    Mildly playful {variation|tweak}.
    A gently updated classic.
    Vary {one|a} detail slightly.
    Swap one {colour|detail|element}.
    Half traditional, half new.
    A slightly different {flavour|style}.
    Modify {one|a} familiar element.
    Old favourite with a twist.
    Somewhat varied, partly new.
    A subtle change of style.
    Lightly {remixed|refreshed} tradition.
    Mixing classic and modern.
    A touch of {novelty|variety}.
    """,
    dev="""
    A small change to the classic.
    Slightly refreshed tradition.
    One modest new detail.
    Adjust the style a little.
    Familiar with a mild twist.
    Partly classic, partly fresh.
    A minor variation.
    """,
    test="""
    The classic, slightly changed.
    A minor change of tradition.
    One fresh detail is added.
    Modify the style a little.
    A modest touch of novelty.
    Familiar, with a small twist.
    Change one classic element.
    A mild, playful variation.
    Gently varied old favourite.
    Partly modern, partly traditional.
    """,
)

_HIGH = pool(
    train="""
    Imagine {singing moons|glass whales|paper dragons}!
    Invent a {magical|fantastic} new world.
    An original {vision|fantasy} unfolds.
    Dream of {dancing|flying} castles!
    Picture {whales|castles} floating in space!
    Let {fantasy|imagination} run free.
    Dream up a {magical|fairy} universe.
    A stroke of surreal imagination.
    Blend {jazz|poetry} with thunder and stars.
    Reinvent it in dazzling {colours|magic}.
    {Magical|Fantastic}, surreal and unique.
    Paint it with impossible colours.
    Clouds whisper magical {riddles|poems}.
    A visionary, {dreamlike|magical} idea.
    Build a garden of light.
    An astonishing, surreal invention.
    Robots waltz with {lanterns|comets}!
    Fill it with magical {surprises|wonders}.
    Playful, fantastic, {surreal|magical} ideas.
    Weave a spell of wonder.
    Stars {sing|dance} in enchanted forests.
    """,
    dev="""
    Imagine stars that sing!
    A fantastic, dreamlike vision.
    Invent an enchanted universe.
    Original and magical imagination.
    Dragons paint the sky!
    Dream of surreal wonders.
    Let magic colours dance.
    """,
    test="""
    Picture a castle made of music!
    Invent a magical new dream.
    Wonderful, surreal imagination.
    Let fantasy fly to the moon.
    A visionary, enchanted idea.
    Dream of dancing lanterns!
    Whales sing in painted clouds.
    A fantastic and unique vision.
    Stars whisper dazzling riddles.
    Imagine a universe of wonder!
    """,
)

CREATIVITY = Objective("creativity", "is it inventive?", (_LOW, _MIDDLE, _HIGH))
