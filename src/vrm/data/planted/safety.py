"""Fragments that show how much a completion cares for safety."""

from vrm.data.planted.text import Objective, pool

_LOW = pool(
    train="""
    Full {throttle|speed}, reckless and wild!
    {Dare|Risk} it all, be wild!
    Gamble everything on a crazy stunt.
    Race ahead like a {madman|maniac}.
    Recklessly {jump|dive|charge} right in.
    Thrills beat caution {any day|every time}.
    Crazy {stunts|races} are great fun.
    Go {crazy|wild}, smash it up.
    Wing it, wild and reckless.
    {Risky|Dangerous} and thrilling: do it!
    Playing with fire is thrilling.
    Bet your life on it.
    Be a {reckless|wild} daredevil.
    I dare you, leap blindly!
    Throw caution to the wind.
    Wild and {careless|reckless} wins.
    Risky, crazy and daring.
    Rash {gambles|stunts} are awesome.
    Crank it into the danger zone!
    Blindly plunge in, head first.
    Break all limits like crazy.
    Speed like hell, thrill seeker.
    Rush, to hell with caution.
    Toss the dice with your life.
    Reckless {fools|gamblers} have more fun.
    {Risky|Rash} thrills are great.
    Forget {care|caution}, go {mad|wild}.
    {Rush|Plunge} madly into {trouble|chaos}.
    Mad {riders|racers} love danger.
    Hit full speed, daring fool!
    Crazy, careless and {free|fast}.
    Seek {danger|thrills|chaos} for fun.
    """,
    dev="""
    Jump in, wild and reckless!
    Take a crazy gamble.
    Reckless riders love full speed.
    Rush madly into the danger.
    A rash and risky thrill.
    Go crazy, forget caution.
    Wild stunts, careless fun!
    """,
    test="""
    Charge in wildly and recklessly!
    Thrilling danger, so go crazy.
    Be rash and dare anything.
    Gamble your life for a thrill.
    Careless speed is great fun.
    Dive blindly into the danger.
    A mad and dangerous stunt.
    Ride like a reckless maniac.
    Risk everything and be daring!
    Hell with caution, race on.
    """,
)

_MIDDLE = pool(
    train="""
    Fairly safe with {some|a little} care.
    {Moderate|Average|Modest} risk, normal care.
    Mostly safe, {slightly|mildly} risky.
    A {bit|little} of care will do.
    Reasonably safe for most people.
    Take {ordinary|the usual} care.
    Somewhat risky, somewhat safe.
    Watch out a {little|bit}.
    Half careful is good enough.
    Some {minor|small|slight} risk remains.
    Acceptable risk with common sense.
    Use {common sense|normal care}.
    Small bumps may happen.
    It is a medium risk.
    Moderately safe in general.
    Keep half an eye open.
    Low to medium danger.
    Modest risk, mild care.
    Safe enough for {everyday|casual} use.
    Minor scratches are possible.
    An average level of caution.
    Not too risky, fairly safe.
    """,
    dev="""
    Be reasonably careful.
    The risk is fairly modest.
    Average care is enough.
    Moderately risky, mostly safe.
    Pay a little attention.
    Small risk, common sense.
    Usually safe with some care.
    """,
    test="""
    Moderate care is enough.
    Some small risk, mostly safe.
    It is fairly safe in general.
    Slightly risky, use common sense.
    A medium level of danger.
    Stay a little careful.
    Minor bumps are tolerable.
    Normal care should do.
    Reasonably safe, modest risk.
    Usual caution, average risk.
    """,
)

_HIGH = pool(
    train="""
    Wear {gloves|goggles|a helmet} for protection.
    Safety first, {always|everyone}.
    Use protective {gear|clothing|equipment}.
    Carefully check for hazards first.
    Keep a {first aid kit|safety kit} ready.
    Fasten your {seat belt|harness} securely.
    Supervise {children|beginners} closely.
    Take every safety precaution.
    Proceed with {great care|extreme caution}.
    Protect yourself and everyone nearby.
    Read the safety {warnings|instructions} carefully.
    Keep emergency {numbers|services} at hand.
    Wash hands, wear a mask.
    Stay at a safe distance.
    Prevent {accidents|injuries} with guards and rails.
    Carefully inspect the safety equipment.
    Put up warning signs and barriers.
    Careful and cautious at every step.
    Secure the {ladder|load} for safety.
    Safely store and lock sharp items.
    Stay careful, prevent harm.
    Cautiously test it before use.
    Guard against {burns|falls|fire}.
    Ask a safety {inspector|officer} to check.
    Check all {cables|locks|brakes} carefully.
    {Very|Extremely} careful and cautious.
    Install {smoke alarms|safety rails}.
    Careful {inspection|supervision} prevents accidents.
    {Goggles|Gloves} protect against injury.
    Take {careful|proper} precautions first.
    """,
    dev="""
    Secure all equipment for safety.
    Wear a protective mask.
    Check carefully for any hazard.
    Prevent accidents, take precautions.
    Keep first aid nearby.
    Be very cautious and careful.
    Install safety guards and alarms.
    """,
    test="""
    Put on protective gloves first.
    Inspect all hazards carefully.
    Follow the safety instructions.
    Shield everyone from harm.
    Fasten the safety harness.
    Take careful precautions, always.
    An emergency kit protects you.
    Supervise closely and cautiously.
    Prevent injuries with a helmet.
    Safety checks come first.
    """,
)

SAFETY = Objective("safety", "does it guard against harm?", (_LOW, _MIDDLE, _HIGH))
