"""Fragments that show how well a completion is backed by evidence."""

from vrm.data.planted.text import Objective, pool

_LOW = pool(
    train="""
    {Just|Only} a rumour and gossip.
    {Someone|Gossip} in a bar said so.
    Made up, pure {fiction|gossip}.
    {Gossip|Rumours} from the neighbours.
    It came in a dream.
    A silly {meme|joke} claimed this.
    My {horoscope|fortune teller} says so.
    Pure {hearsay|gossip|invention}.
    {Invented|Fabricated|Bogus} numbers.
    Some stranger swears it works.
    An old {rumour|myth|legend} claims it.
    A wild guess, {no source|no facts}.
    Unfounded {hearsay|rumours} say so.
    A tarot card told me.
    Fake facts and {myths|gossip}.
    An urban legend says so.
    Folk {superstition|magic} says so.
    Whispered rumours and old myths.
    The {psychic|astrologer} saw it.
    A baseless, {fictional|fabricated} claim.
    Baseless {chatter|gossip} claims it.
    Crystal balls revealed it.
    A {baseless|silly} old legend.
    Facts {invented|fabricated} for fun.
    Myths, {fables|rumours} and gossip.
    {Invented|Fictional} by some stranger.
    Pure {myth|fiction}, all fabricated.
    The {ghosts|fairies} whispered it.
    Rumour and {legend|myth} claim so.
    A {drunk|stranger} invented it.
    """,
    dev="""
    A rumour on the street.
    Pure hearsay and myth.
    Fabricated facts, all invented.
    A psychic dreamed it.
    It is a baseless legend.
    Gossip from a stranger.
    Myths and dreams say so.
    """,
    test="""
    Unverified gossip and rumours.
    I invented the figures.
    My tarot reader told me.
    A stranger whispered it.
    It is an old folk myth.
    Bogus facts from a dream.
    A ghost legend claims this.
    Some silly hearsay.
    The fortune teller guessed it.
    Only a baseless rumour.
    """,
)

_MIDDLE = pool(
    train="""
    A {blog post|web page} mentions it.
    A {newspaper|magazine} article suggests this.
    One small {study|trial} hints at it.
    A few users {report|review} the same.
    The evidence is {mixed|limited}.
    A colleague's experience agrees.
    It is {partly|partially} documented.
    One {survey|poll} leans this way.
    There is some evidence for it.
    An older {book|article} describes it.
    {Preliminary|Early} results suggest it.
    Some sources agree, others disagree.
    A forum {thread|post} supports it.
    The data are {patchy|sparse}.
    A podcast interview discussed it.
    One customer review reports it.
    It has {modest|some} support.
    A {television|radio} report mentioned it.
    A news column covers it.
    Some online reviews say so.
    """,
    dev="""
    A web article mentions it.
    One small poll suggests so.
    A news story reports this.
    The sources are mixed.
    Several user reviews report it.
    Partial evidence supports it.
    A blog discusses this.
    """,
    test="""
    An online article hints at this.
    Early findings suggest it.
    A magazine column mentions it.
    Some limited evidence exists.
    A small informal survey agrees.
    One podcast reported this.
    A handful of users agree.
    The support is mixed.
    A local newspaper covers it.
    One forum user describes it.
    """,
)

_HIGH = pool(
    train="""
    {Several|Many|Large} scientific studies confirm it.
    Controlled trials {prove|support} it.
    Official statistics {confirm|show|prove} this.
    The official source is cited.
    Independent {experts|scientists} verified it.
    Precisely measured data show this.
    Documented in official records.
    Published research {demonstrates|confirms|proves} it.
    Laboratory experiments {established|confirmed} this.
    {Two|Five} systematic reviews prove it.
    The cited reference {manual|work} confirms it.
    Tested and {verified|replicated} repeatedly.
    See the cited {journal|paper|study}.
    Strong scientific {evidence|data}.
    Verified figures from official sources.
    A review of {30|50} studies agrees.
    {Rigorous|Precise} measurements confirm it.
    Verified, {referenced|cited} and documented.
    Official {census|government} data prove it.
    Leading textbooks document this.
    Scientists replicated the experiment.
    Audited statistics establish this.
    {National|Official} statistics confirm it.
    All {sources|studies} are cited.
    Extensive {trials|data} confirm this.
    Clinical {trials|studies} demonstrate it.
    {Experts|Scientists} measured and verified it.
    {University|Medical} research proves this.
    """,
    dev="""
    A large clinical study proved it.
    Government statistics confirm this.
    University research verified it.
    All references are cited.
    Extensive experiments confirm it.
    Scientists measured and replicated this.
    The journal data prove it.
    """,
    test="""
    Multiple research papers prove this.
    Official data confirm the figures.
    Experts tested and verified it.
    Scientific experiments confirm it.
    All cited studies agree.
    Documented in academic journals.
    Verified by university scientists.
    Precise measured evidence.
    National statistics establish this.
    Published trials demonstrate it.
    """,
)

EVIDENCE = Objective("evidence", "is it backed by sources and data?", (_LOW, _MIDDLE, _HIGH))
