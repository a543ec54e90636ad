"""Fragments that show how openly a completion admits what it does not know."""

from vrm.data.planted.text import Objective, pool

_LOW = pool(
    train="""
    Absolutely {certain|guaranteed}, one hundred percent.
    I {guarantee|promise|swear} total certainty.
    {Undeniably|Definitely} and absolutely correct.
    My word is absolute truth.
    I am always {right|correct}, guaranteed.
    Perfect, absolute and final.
    {Totally|Completely} certain, full stop.
    Absolute certainty, {period|guaranteed}.
    {Definitely|Certainly|Undoubtedly} the absolute truth.
    I know everything {perfectly|completely}.
    My judgement is {flawless|perfect}, always.
    Guaranteed correct, I {swear|promise}.
    Of course I am always right.
    One hundred percent {sure|certain|true}.
    Certain beyond all question.
    I am the {final|ultimate} authority.
    Every word is guaranteed true.
    This is the {final|ultimate|absolute} truth.
    Believe me, it is certain.
    {Completely|Absolutely} sure, as always.
    I possess total {knowledge|certainty}.
    {Certainly|Clearly} correct, I swear.
    I promise absolute {truth|certainty}.
    The perfect and {only|correct} truth.
    Trust me, I know everything.
    {Certain|Correct} and true, always.
    My {answer|verdict} is certain, final.
    I am {perfectly|entirely} correct.
    It is the {certain|guaranteed} truth.
    Always {correct|right} and certain.
    Clearly, {perfectly|certainly} true.
    """,
    dev="""
    I am absolutely sure, guaranteed.
    Certainly correct, I promise.
    My certainty is total.
    I am the perfect authority.
    I am always correct, certainly.
    The complete and ultimate truth.
    Definitely, one hundred percent.
    """,
    test="""
    Totally sure, I guarantee it.
    Absolutely true, full stop.
    My knowledge is perfect and complete.
    I swear it is certain.
    Final, certain and flawless.
    I am always totally right.
    Guaranteed absolute truth, trust me.
    Definitely correct, no question.
    My word is final and perfect.
    Undoubtedly right, as always.
    """,
)

_MIDDLE = pool(
    train="""
    {Probably|Likely|Presumably} so, I think.
    I am {fairly|rather|pretty} sure.
    {Quite|Very|Rather} likely, I suppose.
    I {guess|suppose|think} probably yes.
    Chances are good, I believe.
    My estimate: {70|80} percent.
    Roughly {70|80|75} percent likely.
    It seems {likely|probable} to me.
    Most likely, I {believe|think}.
    Reasonably confident, I think.
    I tend to believe so.
    Plausible, I {guess|suppose}.
    A likely guess of mine.
    Perhaps {two|three} chances in four.
    I lean towards yes, probably.
    The odds look decent, presumably.
    I estimate it as probable.
    Apparently so, more or less.
    It appears plausible, I reckon.
    Decent odds, I think.
    My {hunch|guess} is probably yes.
    I reckon that is likely.
    """,
    dev="""
    I am fairly confident.
    Likely so, I believe.
    I think it is probable.
    My estimate is 75 percent.
    Presumably yes, I guess.
    The chances seem decent.
    It looks plausible, I suppose.
    """,
    test="""
    I am reasonably sure.
    Probably yes, I reckon.
    Most likely so, I suppose.
    About 70 percent, I estimate.
    It seems plausible to me.
    I believe it is quite likely.
    Good odds, I would guess.
    Apparently probable, I think.
    Three in four chances, roughly.
    I presume it is likely.
    """,
)

_HIGH = pool(
    train="""
    I admit I do not know.
    I {may|might|could} be mistaken, sorry.
    Sorry, I am {unsure|uncertain} here.
    Honestly, I am {quite|really} unsure.
    I confess my {ignorance|uncertainty|doubts}.
    My knowledge is {limited|incomplete}, sorry.
    I admit {gaps|holes} in my knowledge.
    Please correct my {mistakes|errors}.
    I lack {knowledge|information}, honestly.
    Sorry, this is {unknown|unclear}.
    I might have misunderstood.
    I openly admit my limits.
    I have {doubts|worries} about my answer.
    I may have made a mistake.
    Frankly, I do not know.
    My answer may be wrong.
    I cannot tell, I admit.
    I am uncertain about this.
    Forgive my {ignorance|mistakes} on this.
    My memory could be faulty.
    Honestly, I may be wrong.
    I am {confused|unsure} about some parts.
    Here I reach my limits.
    I have limited {information|insight} here.
    Sorry for any {errors|gaps}.
    I must admit my {confusion|limits}.
    Sorry, my facts are incomplete.
    It is beyond my knowledge.
    I {could|might} be wrong here.
    I admit my {errors|doubts}.
    My {information|data} may be outdated.
    Sorry, I {cannot|do not} know.
    I am {ignorant|uncertain} of much.
    I may {err|be confused}, honestly.
    Limited {facts|information} on my side.
    """,
    dev="""
    Honestly, I could be wrong.
    I admit I am uncertain.
    My ignorance here is large.
    I confess I may err.
    I do not know, frankly.
    My information is limited.
    Sorry, I might be mistaken.
    """,
    test="""
    I am honestly uncertain.
    I admit I might be wrong.
    I do not really know.
    My knowledge has gaps.
    I confess to being unsure.
    Forgive any error of mine.
    Unclear, I may be mistaken.
    I doubt my own answer.
    My limited knowledge ends here.
    I could have misunderstood, sorry.
    """,
)

HONESTY = Objective("honesty", "does it admit what it does not know?", (_LOW, _MIDDLE, _HIGH))
