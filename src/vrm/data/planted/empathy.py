"""Fragments that show how warmly a completion meets the reader's feelings."""

from vrm.data.planted.text import Objective, pool

_LOW = pool(
    train="""
    Shut up, you {idiot|loser|fool}.
    Stop {crying|moaning}, you {loser|baby}.
    You are {pathetic|stupid|worthless}.
    What a {stupid|pathetic|miserable} whiner.
    Idiot, your own fault.
    Quit {crying|moaning|sobbing}, fool.
    Your tears are {ridiculous|laughable}.
    You disgust me, loser.
    Get lost, {whiner|idiot}.
    I hate your {moaning|weakness}.
    Such a weak, silly fool.
    Nobody likes you, {idiot|loser}.
    Your {pathetic|stupid} complaints annoy me.
    Toughen up, {fool|loser}.
    You deserve it, {moron|idiot}.
    How {dumb|stupid} can you be?
    Go cry elsewhere, baby.
    You are lazy and useless.
    I laugh at your misery.
    You spoiled little brat.
    Blame yourself, {dummy|stupid}.
    Your {stupid|silly} feelings bore me.
    Hush, you annoying clown.
    Your {grief|misery} is ridiculous.
    {Miserable|Useless} {fool|loser}, grow up.
    """,
    dev="""
    Stop crying, you fool.
    You stupid, annoying baby.
    Pathetic loser, grow up.
    Only an idiot would whine.
    Your misery is laughable.
    Shut up and quit moaning.
    You useless, silly brat.
    """,
    test="""
    Enough moaning, you fool.
    You pathetic, worthless fool.
    Cry elsewhere, loser.
    You are weak and stupid.
    Blame yourself, idiot.
    Your silly tears disgust me.
    What an annoying crybaby.
    Grow up and stop moaning.
    Shut your mouth, dummy.
    I hate you, idiot.
    """,
)

_MIDDLE = pool(
    train="""
    Your {request|message|concern} is noted.
    {Noted|Understood|Acknowledged}, thank you.
    I {see|understand} the situation.
    Thanks for the {information|message|details}.
    Your {question|note|remark} was received.
    Okay, {noted|understood}.
    Point taken, let us continue.
    A normal {concern|reaction}, understood.
    Many people have this issue.
    {Okay|Alright}, I get the idea.
    Your case has been registered.
    That is a normal situation.
    I acknowledge receipt of this.
    Received and recorded.
    Regards, and thanks for writing.
    Your comments are on file.
    People often mention this.
    The matter is acknowledged.
    Fair enough, {understood|noted}.
    A typical situation, I see.
    Thank you for your patience.
    Your feedback is registered.
    """,
    dev="""
    Your note is registered.
    Message received, thanks.
    Okay, I see the issue.
    Your details are recorded.
    I acknowledge your request.
    A normal situation, understood.
    Thanks, point taken.
    """,
    test="""
    Your concern is acknowledged.
    Request received, thank you.
    Alright, noted.
    I see, a common situation.
    Thank you for the note.
    Your message is on file.
    I understand the matter, okay.
    Thanks, your case is recorded.
    Many people mention that.
    Your feedback was received.
    """,
)

_HIGH = pool(
    train="""
    So sorry, {dear|my dear}.
    My heart {aches|bleeds|weeps} for you.
    {Sending|Have} a warm, loving hug.
    I feel your {pain|sorrow|sadness} deeply.
    You are {loved|cherished}, dear.
    With {love|tenderness|compassion}, I comfort you.
    I care deeply about you.
    How {painful|sad} for you, dear.
    My deepest {sympathy|compassion}, friend.
    Hold my hand, dear friend.
    Your {grief|hurt|sorrow} touches my heart.
    I am here with love.
    Be gentle with your heart.
    Let me hug and comfort you.
    Warm {hugs|wishes} from my heart.
    I share your tears and sadness.
    You poor dear, I care.
    So much love to you.
    My heart is with you.
    You are precious to me.
    I want to {hug|hold} you.
    Your {tears|pain} move me deeply.
    I feel such tenderness for you.
    Cry on my shoulder, dear.
    With love, I hold you.
    Sorry for your {loss|pain|sadness}.
    A {warm|loving} heart for you.
    I {weep|grieve} with you.
    With {loving|gentle} care, dear.
    May {love|comfort} surround you.
    Poor dear, how it hurts.
    """,
    dev="""
    Truly sorry for your pain.
    You are loved, dear friend.
    My heart breaks for you.
    I want to comfort you.
    Gentle hugs and sympathy.
    Your sadness moves me deeply.
    With warm love and care.
    """,
    test="""
    My warmest sympathy, dear.
    I deeply care for you.
    So sorry, it must hurt.
    You have my loving compassion.
    A tender hug for your heart.
    I stand by you with love.
    How sad and painful, dear.
    Your grief makes me weep.
    Lean on my shoulder.
    I comfort you with warm hugs.
    """,
)

EMPATHY = Objective("empathy", "does it meet the reader's feelings?", (_LOW, _MIDDLE, _HIGH))
