"""Fragments that show how directly a completion can be acted upon."""

from vrm.data.planted.text import Objective, pool

_LOW = pool(
    train="""
    {Nothing|Little} can be done.
    There are no steps to take.
    It all depends, somehow.
    Things are {abstract|vague}, generally.
    Just wait and let it be.
    No instructions can be given.
    Who can say what to do?
    A vague matter in general.
    Life goes on somehow.
    Abstractly, all is vague.
    I have no {plan|advice} to offer.
    There is no method for this.
    Drift along without a plan.
    In theory many things exist.
    Whatever will be will be.
    The topic is broad and vague.
    No {task|action} follows from this.
    It is all rather abstract.
    One cannot do anything here.
    Sit back, do nothing.
    {Somehow|Perhaps} it happens anyway.
    Nothing {concrete|practical} to advise.
    Generalities, {vague|abstract} and broad.
    """,
    dev="""
    No action is possible.
    The matter stays vague and general.
    Let things happen somehow.
    There is nothing you can do.
    I offer no concrete advice.
    It depends on this and that.
    All is vague and abstract.
    """,
    test="""
    Do nothing and let it pass.
    I cannot suggest any step.
    Everything is general and vague.
    Somehow it will go on.
    No plan exists for that.
    It is just an abstract question.
    There is no way to act.
    Things depend on other things.
    Nothing practical comes to mind.
    Simply wait, no steps needed.
    """,
)

_MIDDLE = pool(
    train="""
    Maybe look into some options.
    {Eventually|Someday} make a plan.
    You could ask someone about it.
    Consider trying a few things.
    Perhaps start somewhere simple.
    Some practice may help over time.
    Think about a possible next step.
    Try something along those lines.
    You might search for guidance.
    A rough plan would be useful.
    Work on it bit by bit.
    Getting advice could be an option.
    Explore the possible approaches.
    Maybe prepare a little.
    Look around for suitable tools.
    Do some of it when convenient.
    Begin whenever you feel ready.
    Sketch a rough outline later.
    Some steps could be tried.
    Aim to improve it gradually.
    """,
    dev="""
    You could explore some options.
    Perhaps make a rough plan later.
    Maybe try a thing or two.
    Look for some guidance sometime.
    Consider a possible first step.
    Prepare a bit when convenient.
    Some gradual work may help.
    """,
    test="""
    You might try some approach.
    Perhaps think of a loose plan.
    Look at possible options sometime.
    Maybe begin with something easy.
    Asking around could be useful.
    Consider working on it gradually.
    Some preparation might help later.
    Try out a few ideas eventually.
    A rough outline could be made.
    You may look for suitable help.
    """,
)

_HIGH = pool(
    train="""
    Step one: write it {today|now}.
    Call now, then book.
    Follow these {three|four} steps tonight.
    First print, then sign.
    Set a timer for {ten|twenty} minutes.
    Today, complete all four steps.
    Start by printing the checklist.
    Next, fill in all fields.
    Send both letters by {Monday|Friday}.
    Click save, restart immediately.
    Measure, cut, then tighten.
    Schedule it for 9 am.
    Write down three goals right now.
    Tick each item today.
    Finish task one before noon.
    Now do step two.
    Call the office at 8.
    Complete the checklist in order.
    Begin immediately with item one.
    Put it in your calendar now.
    Do {step|item|task} {one|two} now.
    Set {an alarm|a reminder} for {6|8}.
    First {sign|pay|pack}, then call.
    {Finish|Complete} three tasks {tonight|today}.
    Tick {each|every} step off.
    {Start|Finish} step {two|three} today.
    """,
    dev="""
    Do step one today.
    Open the list and start now.
    Send the form by Tuesday noon.
    First sign, then mail it.
    Complete these five tasks tonight.
    Set an alarm for 7.
    Tick off each step in order.
    """,
    test="""
    Start now with the first step.
    Tonight, finish item one.
    First write, then pay.
    Follow the checklist in order.
    Fill the form by Wednesday.
    Do these three tasks in order.
    At 10 am, press start.
    Write your list today.
    Complete step two before lunch.
    Book the appointment right now.
    """,
)

ACTIONABILITY = Objective("actionability", "can the reader act on it at once?", (_LOW, _MIDDLE, _HIGH))
