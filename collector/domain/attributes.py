"""Attributes: one current value about a person, with where it came from and when.

Each identity keeps its own value; the person's stands on the principal's row. Own values are ordered by (source, kind of identity, time,
text of the value): what REST or a verified browser set is never displaced by an unverified one, whichever of the person's identities
either speaks for; of equal sources the user's own counts, else the newest among its leads; and the order of arrival does not matter.
Only changes over REST, which name no time, count in the order of their commits (`set_now`).
An attribute that was unset is one that somebody lacks: what a lead says after that is adopted. What leads said before stays away, else
nothing that came from one could be unset.

Some standard attributes are also what the person's first and latest visit say (`values.visit_context`): campaign, referrer, browser.
No identity has these as its own; they are worked out from the visits of all of them whenever one begins, and a merge or its undoing
leaves what those of the identities that remain say. A value that was set, as `utm_source` may be, counts before what visits say;
unset, it gives way again.
"""

import functools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from collector.domain import identities, visits
from collector.domain.identities import EMAIL, LEAD, USER, Identity, Members
from collector.domain.names import ATTRIBUTE, FIRST_FREE, STANDARD_ATTRIBUTES, NameGone, Names
from collector.storage.database import Connection
from collector.storage.questions import Question
from collector.values.clock import DAY
from collector.values.errors import Reason
from collector.values.text import fold
from collector.values.visit_context import FIRST, VISIT_FIELDS, described

VISITS = 0
"""Source of what visits say; no time is kept for it, so that a visit like the one before writes nothing."""
BROWSER = 1
"""Source of a lead or an unverified user id."""
TRUSTED = 2
"""Source of REST, the console, import, or a verified user id."""

OF_VISITS = {STANDARD_ATTRIBUTES[name]: name for name in sorted(VISIT_FIELDS)}
"""The attributes that visits give, by number."""
_OF_FIRST = {attr for attr, name in OF_VISITS.items() if name.startswith(FIRST)}

_RANKS = {LEAD: 0, EMAIL: 1, USER: 2}
"""Of equal sources, a user's own value counts before that of the email it was known by first, and both before those of its leads."""

MOST = 10_000
"""Own values that the leads of one person have at most, all together, of what is no standard attribute.

A fold reads the values that each of them has, so whoever lets many leads set many must not make that grow without end. Leads that would
bring more do not merge by themselves; one that is part of such a person changes what it has, and sets nothing new without a proof.
"""

AHEAD = DAY
"""How far ahead of a collector's clock (ms) another's clock, and REST beside it, may have set something; what lies beyond is no time."""

_CHUNK = 400
_NULL = "null"

Own = tuple[str, int, int]
"""An identity's own value: JSON, time in ms, source."""


class Folded(NamedTuple):
    """The person's half of a row: JSON, its number or folded text where it is one, time in ms (none for visits), source."""

    value: str | None
    num: float | None
    folded: str | None
    set_at: int | None
    source: int | None


UNSET = Folded(None, None, None, None, None)


class Standing(NamedTuple):
    """One attribute of one person: each identity's kind and own value, what visits say (text), and what stands on the principal's row."""

    person: int
    attr: int
    own: list[tuple[str, Own]]
    visited: str | None
    stored: Folded

    @property
    def is_said(self) -> bool:
        """Whether nothing but visits gives it, and what they say stands there."""
        return not self.own and self.visited is not None and self.stored.source == VISITS and self.stored.value == _said(self.visited).value

    @property
    def folded(self) -> Folded:
        """What has to stand there."""
        return fold_own(self.own, self.visited)


Refused = list[tuple[str, Reason]]
"""Attributes that were not set, or are outranked, and why."""


def apply(
    tx: Connection,
    site: int,
    names: Names,
    identity: Identity,
    values: Mapping[str, Any],
    at_ms: int,
    source: int,
    kept: "Kept | None" = None,
) -> Refused:
    """Set attributes of an identity and re-fold the person's.

    Returns the names whose present value is another one, of a source that outranks the new one's, and those that there is no room for.

    Raises:
        NameGone: an attribute has no number.
    """
    return apply_all(tx, site, names, identity, [(values, at_ms)], source, kept)[0]


def apply_all(
    tx: Connection,
    site: int,
    names: Names,
    identity: Identity,
    changes: Sequence[tuple[Mapping[str, Any], int]],
    source: int,
    kept: "Kept | None" = None,
) -> list[Refused]:
    """Set attributes of an identity several times, each with its time (ms), as `apply` does one after the other: what they come to is
    written and folded once, since folding reads what all the person's identities have. `kept` is what was read in this transaction.

    Returns for each change what `apply` does.

    Raises:
        NameGone: an attribute has no number.
    """
    numbers = {name: _number_of(names, site, name) for values, _ in changes for name in values}
    if not numbers:
        return [[] for _ in changes]
    kept = Kept(tx, site) if kept is None else kept
    own: dict[int, Own] = {}
    persons: dict[int, tuple[str, int, int]] = {}
    among, parameters = tx.among(sorted(numbers.values()))
    rows = tx.rows(
        f"SELECT attr, identity, own_value, own_at, own_source, value, source, set_at FROM attributes "
        f"WHERE site = ? AND identity IN (?, ?) AND attr {among}",
        (site, identity.id, identity.principal_id, *parameters),
    )
    for attr, number, value, at, rank, folded, folded_source, folded_at in rows:
        if number == identity.id and value is not None:
            own[attr] = (value, at, rank)
        if number == identity.principal_id and folded is not None:
            persons[attr] = (folded, folded_source, folded_at or 0)
    before = dict(own)
    unset = [attr for attr, (shown, by, _) in persons.items() if shown == _NULL and by > source]
    is_again = identity.kind == LEAD and len(changes) > 1 and unset
    unset_at = _last_unset(tx, site, identity.principal_id, unset, source) if is_again else {}
    is_bounded = identity.kind == LEAD and identity.absorbed and source == BROWSER
    changed: dict[int, Own] = {}
    refused: list[Refused] = []
    for values, at_ms in changes:
        refused.append([])
        for name, value in values.items():
            attr = numbers[name]
            new: Own = (_json(value), at_ms, source)
            present = own.get(attr)
            if present is None and is_bounded and attr >= FIRST_FREE and not kept.has_room(identity.principal_id):
                refused[-1].append((name, Reason.LEADS_LIMIT))
                continue
            shown, by, since = persons.get(attr, (new[0], source, 0))
            # What was unset before is adopted from a lead, and stands there for the changes that follow.
            adopted = attr in changed and changed[attr][0] != _NULL and changed[attr][1] > unset_at.get(attr, since)
            gives_way = identity.kind == LEAD and shown == _NULL and (since < at_ms or adopted)
            is_outranked = present is not None and present[2] > source and present[0] != new[0]
            if is_outranked or (by > source and shown != new[0] and not gives_way):
                refused[-1].append((name, Reason.ATTRIBUTE_PROTECTED))
            if present is None or _order(new) > _order(present):
                own[attr] = changed[attr] = new
    _write_own(tx, site, {(attr, identity.id): new for attr, new in changed.items()})
    kept.refold(identity, {attr: (before.get(attr), new) for attr, new in changed.items()})
    return refused


def set_now(tx: Connection, site: int, names: Names, principal: Identity, values: Mapping[str, Any], now_ms: int) -> None:
    """Set attributes of a person, locked by the caller, for a trusted source that names no time, so that each is the person's afterwards.

    The order of such changes is that of their commits, not of the clocks that they were taken by: each is younger than what it replaces.

    Raises:
        NameGone: an attribute has no number.
    """
    numbers = {name: _number_of(names, site, name) for name in values}
    if not numbers:
        return
    present: dict[int, list[tuple[int, str, int, int]]] = {}
    among, parameters = tx.among(sorted(numbers.values()))
    rows = tx.rows(
        "SELECT a.attr, i.id, i.kind, a.own_at, a.own_source FROM identities i JOIN attributes a ON a.site = i.site AND a.identity = i.id "
        f"WHERE i.site = ? AND i.principal_id = ? AND a.attr {among} AND a.own_value IS NOT NULL",
        (site, principal.id, *parameters),
    )
    for attr, *one in rows:
        present.setdefault(attr, []).append((one[0], one[1], one[2], one[3]))
    changed: dict[tuple[int, int], Own] = {}
    for name, value in values.items():
        attr = numbers[name]
        owner, at = _place_of_change(principal, value, present.get(attr, ()), now_ms)
        changed[attr, owner] = (_json(value), at, TRUSTED)
    _write_own(tx, site, changed)
    refold(tx, site, [principal.id], set(numbers.values()))


def _place_of_change(principal: Identity, value: object, present: Collection[tuple[int, str, int, int]], now_ms: int) -> tuple[int, int]:
    """Return at which identity a change is the person's and which time it has, from what the person's identities have of their own: the
    identity, its kind, time and source.

    That of a user's id counts before that of the email by which the user was known first. What a clock that was wrong by far has left
    gives way for good; but what a lead said is taken away only by what is as young, whenever that is.
    """
    own = [one for one in present if one[3] == TRUSTED and (one[0] == principal.id or one[1] != LEAD)]
    owner, _, set_at, _ = max(own, key=lambda one: _RANKS[one[1]], default=(principal.id, principal.kind, 0, TRUSTED))
    at = set_at + 1 if now_ms <= set_at <= now_ms + AHEAD else now_ms
    if value is None:
        at = max([at, *(set_at for identity, kind, set_at, _ in present if kind == LEAD and identity != owner)])
    return owner, at


def _write_own(tx: Connection, site: int, changed: Mapping[tuple[int, int], Own]) -> None:
    """Write own values, each by attribute and identity."""
    tx.run_many(
        "INSERT INTO attributes (site, attr, identity, own_value, own_at, own_source) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (site, attr, identity) DO UPDATE SET own_value = excluded.own_value, own_at = excluded.own_at, "
        "own_source = excluded.own_source",
        [(site, attr, identity, *own) for (attr, identity), own in sorted(changed.items())],
    )


def from_leads(site: int, person: int, lead: int) -> tuple[str, tuple[int, ...]]:
    """Return the query, with its parameters, of how many values the leads of a person and one more lead have, of those that `MOST` bounds;
    not beyond that. An index tells of it alone, since a lead has no row of such an attribute without a value.
    """
    found = (
        "SELECT 1 FROM identities i CROSS JOIN attributes a WHERE i.site = ? AND i.principal_id IN (?, ?) AND i.id <> ? "
        "AND a.site = i.site AND a.identity = i.id AND a.attr >= ? LIMIT ?"
    )
    return f"SELECT count(*) FROM ({found}) f", (site, person, lead, person, FIRST_FREE, MOST + 1)


class Kept:
    """What people have of attributes, read once for all that is changed of them in one transaction, which has them locked.

    Of what leads have of one source only the last value is kept: whether it sets or unsets, it decides for all of them (`fold_own`).
    """

    def __init__(self, tx: Connection, site: int, said: visits.Says | None = None) -> None:
        self._tx = tx
        self._site = site
        self._said = said
        self._members: dict[int, Members] = {}
        self._known: dict[tuple[int, int], Standing] = {}
        self._room: dict[int, int] = {}

    def has_room(self, person: int) -> bool:
        """Say whether a lead of this person may set one more attribute, and count it."""
        if person not in self._room:
            sql, parameters = from_leads(self._site, person, person)
            self._room[person] = MOST - self._tx.value(sql, parameters)
        self._room[person] -= 1
        return self._room[person] >= 0

    def refold(self, identity: Identity, changed: Mapping[int, tuple[Own | None, Own]]) -> None:
        """Fold a person's values of attributes of which one identity has got another own value, written already: from what to what."""
        person = identity.principal_id
        unknown = []
        for attr, (before, new) in changed.items():
            known = self._known.get((person, attr))
            own = None if known is None else _replaced(known.own, identity.kind, before, new)
            if known is None or own is None:
                unknown.append(attr)
            else:
                self._known[person, attr] = known._replace(own=own)
        if unknown:
            if person not in self._members:
                self._members[person] = identities.members(self._tx, self._site, [person])
            for one in standing(self._tx, self._site, [person], unknown, self._members[person], self._said):
                self._known[person, one.attr] = one._replace(own=_last_of_leads(one.own))
        found = []
        for attr in changed:
            now = self._known.get((person, attr))
            if now is not None and not now.is_said and (folded := now.folded) != now.stored:
                self._known[person, attr] = now._replace(stored=folded)
                found.append((self._site, attr, person, *folded))
        _write(self._tx, found)


def _last_of_leads(own: list[tuple[str, Own]]) -> list[tuple[str, Own]]:
    """Return own values without those of leads that a later one of the same source, of a lead too, makes count for nothing."""
    last: dict[int, Own] = {}
    for kind, one in own:
        if kind == LEAD and (one[2] not in last or _order(one) > _order(last[one[2]])):
            last[one[2]] = one
    return [entry for entry in own if entry[0] != LEAD] + [(LEAD, one) for one in last.values()]


def _replaced(own: list[tuple[str, Own]], kind: str, before: Own | None, new: Own) -> list[tuple[str, Own]] | None:
    """Return what is kept of own values where an identity's is another one, a later one; None where what it covered has to be read."""
    if before is None or (kind, before) not in own:
        return _last_of_leads([*own, (kind, new)])
    if kind == LEAD and before[2] != new[2]:
        return None
    place = own.index((kind, before))
    return _last_of_leads([*own[:place], (kind, new), *own[place + 1 :]])


def _last_unset(tx: Connection, site: int, person: int, attrs: Collection[int], source: int) -> dict[int, int]:
    """Return when such attributes of a person were unset last (ms), at any of its identities by a source not below this one."""
    among, parameters = tx.among(sorted(attrs))
    return dict(
        tx.rows(
            f"SELECT attr, max(own_at) FROM attributes WHERE site = ? AND attr {among} AND own_value = ? AND own_source >= ? "
            "AND identity IN (SELECT id FROM identities WHERE site = ? AND principal_id = ?) GROUP BY attr",
            (site, *parameters, _NULL, source, site, person),
        )
    )


def _number_of(names: Names, site: int, name: str) -> int:
    number = names.number(site, ATTRIBUTE, name)
    if number is None:
        raise NameGone
    return number


def refold(
    tx: Connection,
    site: int,
    people: Sequence[int],
    attrs: Collection[int],
    members: Members | None = None,
    said: visits.Says | None = None,
) -> None:
    """Work out the values of people (principal ids, locked by the caller) anew from what their identities have of their own.

    `members`, their identities, are looked up where they are not given; `said` is asked what their first and latest visits say.
    """
    found = [
        (site, one.attr, one.person, *one.folded)
        for one in standing(tx, site, people, attrs, members, said)
        if not one.is_said and one.folded != one.stored
    ]
    _write(tx, found)


def _write(tx: Connection, folded: list[tuple[Any, ...]]) -> None:
    """Write what people's values were folded to: site, attribute, person and what stands there."""
    tx.insert(
        "attributes",
        ("site", "attr", "identity", "value", "num", "folded", "set_at", "source"),
        sorted(folded, key=itemgetter(1, 2)),
        "ON CONFLICT (site, attr, identity) DO UPDATE SET value = excluded.value, num = excluded.num, folded = excluded.folded, "
        "set_at = excluded.set_at, source = excluded.source",
    )


def standing(
    connection: Connection,
    site: int,
    people: Sequence[int],
    attrs: Collection[int],
    members: Members | None = None,
    said: visits.Says | None = None,
) -> Iterator[Standing]:
    """Yield those of these attributes that these people (principal ids) have in any way; see `refold`."""
    if not people or not attrs:
        return
    members = identities.members(connection, site, people) if members is None else members
    of_visits = {} if OF_VISITS.keys().isdisjoint(attrs) else (said or visits.Sayings(connection, site))(members)
    found: dict[tuple[int, int], tuple[list[tuple[str, Own]], list[Folded]]] = {}
    of_attrs, attr_parameters = connection.among(sorted(attrs))
    numbers = sorted(members)
    for start in range(0, len(numbers), _CHUNK):
        of_members, parameters = connection.among(numbers[start : start + _CHUNK])
        sql = (
            "SELECT attr, identity, own_value, own_at, own_source, value, num, folded, set_at, source FROM attributes "
            f"WHERE site = ? AND identity {of_members} AND attr {of_attrs}"
        )
        for attr, identity, value, at, source, *stored in connection.rows(sql, (site, *parameters, *attr_parameters)):
            person, kind, _ = members[identity]
            own, folded = found.setdefault((person, attr), ([], []))
            if value is not None:
                own.append((kind, (value, at, source)))
            if identity == person:
                folded.append(Folded(*stored))
    visited: dict[tuple[int, int], str] = {}
    for person, (first, latest) in of_visits.items():
        values = described(first, latest)
        visited.update({(person, attr): values[name] for attr, name in OF_VISITS.items() if name in values and attr in attrs})
    for key in found.keys() | visited.keys():
        if key[1] in _OF_FIRST and (one := of_visits.get(key[0])) is not None and one.first is None:
            continue  # as it was
        own, folded = found.get(key, ([], []))
        yield Standing(*key, own, visited.get(key), folded[0] if folded else UNSET)


def fold_own(own: Collection[tuple[str, Own]], visited: str | None = None) -> Folded:
    """Return what a person's identities, each with its kind, make of their own values of one attribute and of what visits say."""
    if not own and visited is not None:  # nearly always, of those that visits give
        return _said(visited)
    candidates = [(source, _RANKS[kind], at, value) for kind, (value, at, source) in own]
    # Of each source and kind of identity the last one: it takes away whatever the others do.
    unset = {one[:2]: one for one in sorted(candidates) if one[3] == _NULL}.values()
    known = [one for one in candidates if one[3] != _NULL and not any(_takes_away(null, one) for null in unset)]
    source, _, at, text = max(known or unset, default=(None, 0, None, _NULL))
    if text == _NULL and visited is not None:
        return _said(visited)
    if source is None:
        return UNSET
    value = json.loads(text)
    return Folded(text, _number(value), fold(value) if isinstance(value, str) else None, at, source)


def _said(text: str) -> Folded:
    """Return what stands there where visits say a text. The same browsers, campaigns and referrers come again and again."""
    return _known_said(text) if len(text) <= _KEPT else _folded_said(text)


def _folded_said(text: str) -> Folded:
    return Folded(_json(text), None, fold(text), None, VISITS)


_KEPT = 256  # characters
_known_said = functools.lru_cache(maxsize=2_048)(_folded_said)


def _takes_away(null: tuple[int, int, int, str], value: tuple[int, int, int, str]) -> bool:
    """Say whether a person has no more of a value that one of its identities has because another one unset it; as candidates of a fold."""
    return null > value and (value[1] != _RANKS[LEAD] or value[2] <= null[2])


def give_up(tx: Connection, site: int, lead_id: int) -> set[int]:
    """Leave a lead nothing but its own values, since it has become part of another person; return which these are, to be folded there."""
    attrs = {row[0] for row in tx.rows("SELECT attr FROM attributes WHERE site = ? AND identity = ?", (site, lead_id))}
    tx.run(
        "UPDATE attributes SET value = NULL, num = NULL, folded = NULL, set_at = NULL, source = NULL WHERE site = ? AND identity = ?",
        (site, lead_id),
    )
    return attrs


def of_person(connection: Connection, site: int, names: Names, principal_id: int) -> dict[str, Any]:
    """Return the person's values by attribute name; what was unset is left out."""
    return read(connection, site, names, principal_id)[0]


def read(connection: Connection, site: int, names: Names, principal_id: int) -> tuple[dict[str, Any], int | None]:
    """Return the person's values by attribute name, what was unset left out, and when any was set or unset last (ms)."""
    rows = connection.asked(question_of_values(site, principal_id))
    changed_at = max([row[2] for row in rows if row[2] is not None], default=None)
    known = zip(names.texts(connection, site, [row[0] for row in rows]), rows, strict=True)
    return {name: value for name, row in known if (value := _decode(row[1])) is not None}, changed_at


_decode = msgspec.json.Decoder().decode


def question_of_values(site: int, principal_id: int) -> Question:
    """Return what `read` asks."""
    sql = "SELECT attr, value, set_at FROM attributes WHERE site = ? AND identity = ? AND value IS NOT NULL"
    return Question(sql, (site, principal_id))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _order(own: Own) -> tuple[int, int, str]:
    value, at, source = own
    return (source, at, value)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:  # beyond every double, as comparisons have to see it
        return float("inf") if value > 0 else float("-inf")


def set_since(connection: Connection, site: int, names: Names, principal_id: int, then_ms: int) -> set[str]:
    """Return the canonical names of what was set of a person after a time (ms)."""
    sql = "SELECT attr FROM attributes WHERE site = ? AND identity = ? AND value IS NOT NULL AND set_at > ?"
    return {names.text(site, attr) for (attr,) in connection.rows(sql, (site, principal_id, then_ms))}
