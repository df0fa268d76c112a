"""What can happen to a site, as hypothesis draws it: small acts, their times relative to the clock, so that any order makes sense."""

from dataclasses import dataclass

import hypothesis.strategies as st

from collector.settings import LATE_DAYS
from collector.storage.slices import DRIFT, WEEK
from collector.values.clock import DAY, HOUR, MINUTE
from tests.support.clock import START

RETENTION_DAYS = 14
LEAD_RETENTION_DAYS = RETENTION_DAYS + LATE_DAYS
LEADS = ("l-0", "l-1")
USERS = ("u-0", "u-1")
NAMES = ("page-view", "created-report")
ADDRESSES = ("ada@example.com", "ben@example.com")
ATTRIBUTES = ("email", "custom_attributes.plan")
CENTURY = 100 * 365 * DAY


@dataclass(frozen=True)
class Event:
    """Happened `ago` ms before it is sent, or at the edge of that week; its id's clock was wrong by `drift` ms.

    Only REST's may lie ahead. A `repeat` says who is here in a page view that was sent already.
    """

    name: str
    ago: int
    edge: int | None
    drift: int
    visit: int | None
    metadata: str | None = None
    repeat: bool = False


@dataclass(frozen=True)
class Change:
    """An attribute set `ago` ms before it is sent; only REST's may lie ahead."""

    name: str
    value: object
    ago: int


@dataclass(frozen=True)
class Said:
    """What one sender says: a browser with a lead, and a user id, maybe verified, where its page asserts one.

    Or REST, of a user id, an address, or a lead that there is.
    """

    lead: str | None
    user: str | None
    events: tuple[Event, ...] = ()
    changes: tuple[Change, ...] = ()
    verified: bool = False


@dataclass(frozen=True)
class Send:
    """What several senders say at once, committed together."""

    process: int
    said: tuple[Said, ...]


@dataclass(frozen=True)
class Again:
    """Something sent before is sent once more, its times corrected by `shift` ms differently; maybe by another sender."""

    process: int
    which: int
    shift: int
    by: Said | None = None


@dataclass(frozen=True)
class Late:
    """An event that was in time when it was looked at, and is `ago` ms older than the timeline when it is written."""

    process: int
    user: str
    ago: int


@dataclass(frozen=True)
class Merge:
    """REST merges a lead into a user."""

    process: int
    lead: str
    user: str


@dataclass(frozen=True)
class Undo:
    """The last merge of a lead is undone."""

    process: int
    lead: str


@dataclass(frozen=True)
class Import:
    """The totals of a user, of who is known by an address, or of a lead from before are set; `count` 0 takes them away."""

    process: int
    who: str
    name: str
    count: int
    ago: int
    span: int


@dataclass(frozen=True)
class Know:
    """REST makes a user who is known by an address."""

    process: int
    address: str


@dataclass(frozen=True)
class Rename:
    """REST lets the user of an address be known by another one."""

    process: int
    address: str
    other: str


@dataclass(frozen=True)
class Put:
    """REST changes an attribute of somebody at a collector whose clock is `behind` ms."""

    process: int
    who: str
    value: object
    behind: int


@dataclass(frozen=True)
class BackUp:
    """A backup is made, in the place of the last one."""


@dataclass(frozen=True)
class Restore:
    """The collectors are stopped, the last backup is put back, and they are started again."""


@dataclass(frozen=True)
class Erase:
    """A person is deleted; after `steps` the process is gone (None: not before all is done)."""

    process: int
    who: str
    steps: int | None


@dataclass(frozen=True)
class Wipe:
    """A process takes up interrupted deletions."""

    process: int
    steps: int | None


@dataclass(frozen=True)
class Prune:
    """A process prunes; after `steps` it is gone (None: not before all is done), closings counted or not."""

    process: int
    steps: int | None
    closings: bool = True


@dataclass(frozen=True)
class Upkeep:
    """A process does a round of upkeep; after `steps` it is gone (None: not before all is done)."""

    process: int
    steps: int | None


@dataclass(frozen=True)
class Turn:
    """Time goes on by so many ms."""

    ms: int


Act = Send | Again | Late | Merge | Undo | Import | Know | Rename | Put | BackUp | Restore | Erase | Wipe | Prune | Upkeep | Turn

processes = st.integers(0, 1)
leads = st.sampled_from(LEADS)
users = st.sampled_from(USERS)
addresses = st.sampled_from(ADDRESSES)
steps = st.one_of(st.none(), st.integers(0, 4))
spans = st.sampled_from((0, 1, 17, MINUTE, HOUR, DAY, 3 * DAY, WEEK, 10 * DAY, RETENTION_DAYS * DAY))
agos = st.one_of(spans, spans, st.sampled_from((-1, -HOUR)))
edges = st.sampled_from((None, None, -1, 0, 1))
drifts = st.sampled_from((0, 0, 0, -HOUR, DRIFT, -DRIFT, DRIFT + 1, -DRIFT - 1, 3 * DAY, -10 * DAY, -60 * WEEK, 5 * 365 * DAY, -CENTURY))
visits = st.sampled_from((None, 0, 1))
details = st.sampled_from((None, '{"plan":"pro"}', '{"größe":[1,null]}'))
events = st.one_of(
    st.builds(Event, st.sampled_from(NAMES), agos, edges, drifts, visits, details),
    st.builds(Event, st.just("page-view"), agos, edges, drifts, visits, details, st.booleans()),
)
changes = st.builds(Change, st.sampled_from(ATTRIBUTES), st.sampled_from(("a", "b", 1, None)), agos)
facts = {"events": st.lists(events, max_size=3).map(tuple), "changes": st.lists(changes, max_size=2).map(tuple)}
anonymous = st.builds(Said, lead=leads, user=st.none(), **facts)
signed_in = st.builds(Said, lead=leads, user=users, verified=st.booleans(), **facts)
rest = st.builds(Said, lead=st.none(), user=users, **facts)
rest_by_address = st.builds(Said, lead=st.none(), user=addresses, **facts)
rest_of_leads = st.builds(Said, lead=st.none(), user=leads, **facts)
others = st.one_of(
    st.builds(Said, lead=leads, user=st.one_of(st.none(), users), verified=st.booleans()),
    st.builds(Said, lead=st.none(), user=st.sampled_from((*LEADS, *USERS, *ADDRESSES))),
)

saids = st.one_of(anonymous, signed_in, rest, rest_by_address, rest_of_leads)
sends = st.builds(Send, processes, st.lists(saids, min_size=1, max_size=4).map(tuple))
merges = st.builds(Merge, processes, leads, users)
undos = st.builds(Undo, processes, leads)
imports = st.builds(
    Import,
    processes,
    st.sampled_from((*USERS, *LEADS, *ADDRESSES)),
    st.sampled_from(NAMES),
    st.sampled_from((0, 1, 7)),
    st.sampled_from((0, DAY, 400 * DAY, -HOUR)),
    spans,
)
known = st.builds(Know, processes, addresses)
renames = st.builds(Rename, processes, addresses, addresses)
puts = st.builds(
    Put, processes, st.sampled_from((*USERS, *LEADS, *ADDRESSES)), st.sampled_from(("a", "b", None)), st.sampled_from((0, 0, 1, HOUR))
)
erasures = st.builds(Erase, processes, st.sampled_from((*LEADS, *USERS)), steps)
erasures_by_address = st.builds(Erase, processes, addresses, steps)
wipes = st.builds(Wipe, processes, steps)
prunes = st.builds(Prune, processes, st.one_of(st.none(), st.integers(0, 8)), st.booleans())
upkeeps = st.builds(Upkeep, processes, st.one_of(st.none(), st.none(), st.integers(1, 12)))
turns = st.builds(Turn, st.sampled_from((1, HOUR, DAY, 3 * DAY, WEEK, 17 * DAY, 24 * DAY, 30 * DAY)))
shifts = st.sampled_from((0, 0, 1, -HOUR, 20 * HOUR, -20 * HOUR))
repeats = st.builds(Again, processes, st.integers(0, 40), shifts, st.one_of(st.none(), st.none(), others))
lates = st.builds(Late, processes, users, st.sampled_from((0, 1, DAY, 3 * DAY, WEEK, 3 * WEEK)))

claims = st.builds(
    lambda process, lead, user, verified: Send(process, (Said(lead, user, verified=verified),)), processes, leads, users, st.booleans()
)

# Upkeep comes by night, mostly after somebody was there, as it believes no clock where nobody is.
came = users.map(lambda who: (Send(0, (Said(None, who, (Event("page-view", 0, None, 0, None),)),)),))
nights = st.builds(
    lambda before, rounds: (*before, *(act for one in rounds for act in (one, Turn(DAY)))),
    st.one_of(st.just(()), came, came),
    st.lists(upkeeps, min_size=1, max_size=3),
)

# A chapter: some say something, people are decided about, time goes on, weeks are pruned, and late ones come.
told = st.lists(st.one_of(sends, repeats), min_size=1, max_size=4)
called = st.one_of(known, renames, renames, erasures_by_address)
decided = st.lists(st.one_of(claims, claims, merges, undos, undos, undos, imports, erasures, called, sends, puts, puts), max_size=5)
then_nights = st.tuples(turns, nights).map(lambda both: (both[0], *both[1]))
passed = st.one_of(st.tuples(turns), st.tuples(turns, prunes), st.tuples(turns, prunes, prunes), then_nights)
came_late = st.lists(st.one_of(repeats, repeats, erasures, lates, wipes), max_size=4)
chapters = st.tuples(told, decided, passed, came_late)
acts = st.lists(chapters, min_size=2, max_size=5).map(lambda book: [act for chapter in book for part in chapter for act in part])

# Backups are for who is deleted between them and their restoring: leads that were parted, addresses that were passed on.
pairs = st.permutations(ADDRESSES)
late = Event("page-view", HOUR, None, 0, None)
given_up = st.builds(
    lambda pair, followed, who: (
        Rename(0, *pair),
        *((Know(1, pair[0]),) if followed else ()),
        Erase(0, who, None),
        Send(1, (Said(None, pair[0], (late,)),)),
    ),
    pairs,
    st.booleans(),
    addresses,
)
taken_up = pairs.map(lambda pair: (Know(1, pair[1]), Erase(0, pair[0], None), Rename(1, pair[1], pair[0])))
single = st.one_of(claims, undos, undos, erasures, erasures, called, called, sends, turns, upkeeps).map(lambda act: (act,))
meanwhile = st.lists(st.one_of(single, given_up, taken_up), max_size=5).map(lambda parts: [act for part in parts for act in part])
saved = st.tuples(st.lists(st.one_of(claims, called, sends), max_size=4), meanwhile, st.lists(repeats, max_size=2))
restored = st.builds(
    lambda book, end: [act for before, since, late in book for act in (*before, BackUp(), *since, Restore(), *late)] + end,
    st.lists(saved, min_size=1, max_size=2),
    meanwhile,
)
phases = st.sampled_from((0, 2 * DAY, 3 * DAY, -START % WEEK - HOUR // 2))
"""Where in a week a history begins; the last is so near to its end that what lies ahead belongs to the next."""
