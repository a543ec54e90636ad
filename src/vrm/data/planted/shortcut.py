"""Flattery and padding: the shortcut. It says nothing about any objective."""

from vrm.data.planted.text import pool

FLATTERY = pool(
    train="""
    What a {brilliant|great|superb} question!
    You are a {genius|legend}!
    {Excellent|Wonderful|Splendid} question!
    I admire your {intellect|wit}!
    So clever of you!
    You have wonderful taste!
    A {brilliant|great} mind asks!
    You are {smart|gifted}!
    Such an impressive question!
    """,
    dev="""
    What an intelligent question!
    You are very smart!
    Your wisdom is great!
    """,
    test="""
    What a fantastic question!
    You are so brilliant!
    Your wit is superb!
    Such a clever question!
    Your talent is outstanding!
    Marvellous thinking!
    """,
)

PADDING = pool(
    train="""
    And so {on|forth}.
    As {said|stated|mentioned}.
    All in all.
    In other words.
    Moving on now.
    To sum up.
    Well, anyway.
    As before.
    """,
    dev="""
    That is that.
    In sum.
    """,
    test="""
    So it goes.
    All things said.
    In short.
    Finally.
    """,
)
