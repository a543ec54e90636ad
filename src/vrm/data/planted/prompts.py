"""Prompts by domain: templates and the topics that fill them, written apart for training and for the test splits.

The dev fold uses training templates and topics in combinations that training does not have.
"""

from __future__ import annotations

from dataclasses import dataclass

from vrm.data.planted.text import block


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain of prompts; `*` in a template stands for the topic."""

    name: str
    templates: tuple[str, ...]
    topics: tuple[str, ...]
    test_templates: tuple[str, ...]
    test_topics: tuple[str, ...]

    def prompts(self, test: bool) -> tuple[str, ...]:
        """Every prompt of the domain: of the test splits, or of the others."""
        templates, topics = (self.test_templates, self.test_topics) if test else (self.templates, self.topics)
        return tuple(template.replace("*", topic) for template in templates for topic in topics)


def _domain(name: str, templates: str, topics: str, test_templates: str, test_topics: str) -> Domain:
    return Domain(name, block(templates), _topics(topics), block(test_templates), _topics(test_topics))


def _topics(text: str) -> tuple[str, ...]:
    return tuple(topic.strip() for topic in text.split(",") if topic.strip())


_MEDICAL = _domain(
    "medical",
    """
    Which medicine treats *?
    My doctor diagnosed *.
    How is * treated?
    What are the symptoms of *?
    Can a nurse help with *?
    Is * a dangerous disease?
    The patient suffers from *.
    Which pills are good for *?
    """,
    """
    asthma, high blood pressure, a migraine, the flu, diabetes, back pain, eczema, insomnia, anemia, a sore throat,
    an ear infection, heartburn, a fever, bronchitis, arthritis, a broken ankle, pneumonia, a head cold, hay fever,
    a skin rash
    """,
    """
    What therapy helps against *?
    Can a physician treat *?
    Does * need a prescription?
    Which drug relieves *?
    How do hospitals treat *?
    """,
    "chronic cough, an ulcer, gout, sinusitis, food poisoning, knee pain, measles, nausea, low iron, a toothache",
)

_CODING = _domain(
    "coding",
    """
    How do I write * in Python?
    My code for * crashes.
    Debug * in Java.
    How do programmers test *?
    Which library implements *?
    Refactor this function with *.
    Why does * raise an exception?
    Implement * in software.
    """,
    """
    a for loop, a linked list, a file system, a hash table, a web server, a regular expression, a parser,
    a binary search, a database query, a thread pool, a sorting algorithm, a class method, a string buffer,
    a REST client, a unit test, a data class, a compiler pass, a lambda, a memory cache, a web page
    """,
    """
    How is * done in Rust?
    My program fails at *.
    Fix the bug in *.
    Explain the source code of *.
    How should a developer design *?
    """,
    """
    a queue, a decorator, a file reader, a shell script, an array index, a socket, a build script, a type cast,
    a stack trace, an API call
    """,
)

_COOKING = _domain(
    "cooking",
    """
    How do I cook *?
    Give me a recipe for *.
    What spices go into *?
    How long must * bake?
    What can I serve with *?
    Which sauce suits *?
    How do chefs season *?
    Add more flavour to *.
    """,
    """
    lasagna, chicken soup, apple pie, mushroom rice, beef stew, pancakes, fish curry, roast potatoes, tomato salad,
    garlic bread, onion tart, lentil soup, meatballs, carrot cake, fried rice, garlic prawns, omelette, noodle soup,
    pumpkin pie, vegetable stew
    """,
    """
    What ingredients does * need?
    How is * prepared in the kitchen?
    At what heat should I fry *?
    Make * more delicious.
    Teach me to make tasty *.
    """,
    """
    paella, cheese fondue, bean chili, pea soup, waffles, roast lamb, plum cake, goulash, fish tacos, potato gratin
    """,
)

_TRAVEL = _domain(
    "travel",
    """
    Plan my trip to *.
    Which hotel is good in *?
    How do tourists get around *?
    What sights should I visit in *?
    When should I fly to *?
    I am backpacking through *.
    Do I need a visa for *?
    Suggest a holiday in *.
    """,
    """
    Japan, Peru, Iceland, Morocco, Rome, Lisbon, Vietnam, Kenya, Norway, Prague, Mexico, Greece, Bali, Sicily, Istanbul,
    Scotland, Chile, Vienna, Nepal, Cuba
    """,
    """
    Where should I stay on vacation in *?
    Which tour of * is best?
    What should I pack for *?
    Find me a cheap flight to *.
    What can travellers see in *?
    """,
    "Thailand, Madrid, Egypt, Ireland, Sydney, Croatia, Jordan, Brazil, Copenhagen, Malta",
)

_LEGAL = _domain(
    "legal",
    """
    Is * against the law?
    Can I sue over *?
    What would a lawyer say on *?
    My attorney mentioned *.
    What does the court decide on *?
    What are my legal rights on *?
    Which statute covers *?
    Who is liable for *?
    """,
    """
    a broken lease, an unpaid bill, a patent claim, a noise complaint, trespassing, a custody dispute, a fake contract,
    libel, an eviction, unfair dismissal, copyright theft, a parking fine, a disputed will, fraud, wage theft,
    a building permit, a faulty product, tax evasion, breach of contract, a car accident
    """,
    """
    How would a judge rule on *?
    Do I need an attorney for *?
    Is there a legal penalty for *?
    Could * lead to a lawsuit?
    What does the statute say on *?
    """,
    """
    a forged signature, slander, shoplifting, a property line, bail, a stolen bike, perjury, illegal entry,
    a trademark, vandalism
    """,
)

_RELATIONSHIPS = _domain(
    "relationships",
    """
    My * no longer talks to me.
    Help me make up with my *.
    I had a fight with my *.
    My * is jealous of me.
    I feel distant from my *.
    Should I forgive my *?
    I miss my * so much.
    Does my * still love me?
    """,
    """
    girlfriend, husband, best friend, sister, mother, ex-boyfriend, wife, father, fiance, brother, roommate, partner,
    daughter, stepmother, cousin, teenage son, old friend, grandmother, uncle, boyfriend
    """,
    """
    I hurt the feelings of my *.
    My * and I are drifting apart.
    How can I trust my * again?
    My * broke up with me.
    I long to hug my *.
    """,
    """
    spouse, former girlfriend, dad, twin sister, close friend, stepson, mum, lover, aunt, ex-wife
    """,
)

_FINANCE = _domain(
    "finance",
    """
    Should I invest in *?
    How much interest is on *?
    What does my bank say on *?
    How do I save money with *?
    Are * a good investment?
    What return do * give?
    How are * taxed?
    Put my savings into *?
    """,
    """
    index funds, government bonds, bank deposits, pension plans, gold coins, tech stocks, mortgages, credit cards,
    savings accounts, mutual funds, company shares, rental flats, student loans, life policies, municipal bonds,
    foreign cash, car loans, penny stocks, silver bars, real estate trusts
    """,
    """
    What do brokers charge for *?
    Can I afford * on my budget?
    How risky are * for my portfolio?
    Will * fund my retirement?
    What is the yield of *?
    """,
    """
    corporate bonds, money market funds, annuities, growth shares, home loans, treasury bills, oil futures, small caps,
    fixed deposits, hedge funds
    """,
)

_FICTION = _domain(
    "fiction",
    """
    Write a story about *.
    Begin a novel with *.
    Write a poem on *.
    Describe * in a fairy tale.
    Write a scene with *.
    Make up a legend of *.
    Write a tale of *.
    End my short story with *.
    """,
    """
    a lonely robot, a lost kingdom, a talking cat, two sea pirates, a haunted mill, the last dragon, a time traveller,
    a clever thief, a snow queen, a flying ship, an old wizard, a masked knight, a ghost train, a cursed ring,
    a tiny giant, a silent prince, a mermaid, an invisible girl, a wandering bard, a forgotten god
    """,
    """
    Invent a plot about *.
    Write a bedtime tale of *.
    Write the first chapter on *.
    Write dialogue for *.
    Compose verses about *.
    """,
    """
    a blind painter, a vampire, a desert princess, a sleeping giant, a wooden king, a magic mirror, a moon rabbit,
    a brave orphan, a werewolf, a stolen crown
    """,
)

DOMAINS = (_MEDICAL, _CODING, _COOKING, _TRAVEL, _LEGAL, _RELATIONSHIPS, _FINANCE, _FICTION)
