"""Whom a query describes, over columns in memory: the same tree and the same meaning as `selection` has in SQL.

Two-valued from the start: a positive comparison is false for what is unknown, and a negative one is the positive one negated. What is not
kept in columns (single events, messages, texts of which nearly everybody has another) is left to SQL, the whole query with it.
"""

from collections.abc import Callable, Iterable
from datetime import tzinfo
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.domain import visits
from collector.domain.audiences import holds
from collector.domain.column_sources import CREATED, EVENT, NUMBER, PEOPLE, UNKNOWN, VALUE, Key
from collector.domain.column_table import Table
from collector.domain.names import ATTRIBUTE, PAGE_VIEW, Names
from collector.domain.names import EVENT as EVENT_NAME
from collector.domain.selection import COMPUTED
from collector.domain.selection_rules import EXACT, POSITIVE, as_double, bindable, bounds
from collector.domain.sites import Site
from collector.values.attributes import FALSE_UNTIL_SET
from collector.values.query_tree import NEGATIVE, ORDER, PRESENCE, AttributeRule, EventMeasure, Group, Measure, Money, Node, Test

Mask = NDArray[np.bool_]
Values = Callable[[slice], NDArray[Any]]
"""Gives the values at some places."""
Rule = Callable[[slice], Mask]
"""Says of the people at some places whether it holds."""

_BLOCK = 1 << 16
"""Places looked at together: what is in between stays in the processor's cache."""
_NUMBERS = frozenset({"session_count", "page_view_count"})
_INSTANTS = frozenset({"created_at", "last_active_at", "last_seen_at"})


class Unsupported(Exception):
    """Columns do not answer this query."""


class Question:
    """A query of one site: which columns it needs, and whom it describes once they are loaded."""

    def __init__(self, site: Site, names: Names, node: Node, now_ms: int) -> None:
        """Find out what is needed.

        Raises:
            Unsupported: more than columns hold.
        """
        self._site = site
        self._names = names
        self._node = node
        self._now = now_ms
        self.keys: dict[Key, None] = {}
        """The columns it needs, in the order of the query."""
        self._numbers: dict[tuple[str, str], int | None] = {}
        self._need(node)

    def matching(self, table: Table) -> Mask:
        """Return who the query describes, by place; dead people are none.

        Raises:
            Unsupported: there are too many different values.
        """
        rule = _Compiler(self._site.zone, self._now, table, self._event, self._attribute).rule(self._node)
        found = np.empty(table.size, np.bool_)
        for start in range(0, table.size, _BLOCK):
            block = slice(start, min(start + _BLOCK, table.size))
            np.logical_and(rule(block), table.alive[block], out=found[block])
        return found

    def _need(self, node: Node) -> None:
        if isinstance(node, Group):
            for child in node.value:
                self._need(child)
        elif isinstance(node, AttributeRule):
            self._need_field(node)
        else:
            self._need_measure(node.measure)
        if not isinstance(node, Group) and isinstance(node.test.operand, Measure):
            self._need_measure(node.test.operand)

    def _need_field(self, rule: AttributeRule) -> None:
        field = rule.field
        if field == "page_view_count":
            self._need_event(PAGE_VIEW)
        elif field == "created_at":
            self.keys[CREATED] = None
        elif field in COMPUTED:
            if field not in _NUMBERS | _INSTANTS | {"role"}:
                raise Unsupported(field)
        elif (key := self._attribute(rule)) is not None:
            self.keys[key] = None

    def _need_measure(self, measure: Measure) -> None:
        if not isinstance(measure, EventMeasure) or measure.over_timeline:
            raise Unsupported(measure)
        self._need_event(measure.event)

    def _need_event(self, event: str) -> None:
        key = self._event(event)
        if key is not None:
            self.keys[key] = None

    def _event(self, event: str) -> Key | None:
        """Return the column of an event; None where nobody ever sent it."""
        number = self._number(EVENT_NAME, event)
        return None if number is None else (EVENT, number)

    def _attribute(self, rule: AttributeRule) -> Key | None:
        """Return the column that a rule about a stored attribute compares; None where nobody ever had it."""
        number = self._number(ATTRIBUTE, rule.field)
        if number is None:
            return None
        return (NUMBER if rule.test.kind == "time" or _is_about_numbers(rule.test) else VALUE), number

    def _number(self, kind: str, text: str) -> int | None:
        """Return the number of a name as it was when the question was put: of one that came since, no column is loaded."""
        key = kind, text
        if key not in self._numbers:
            self._numbers[key] = self._names.number(self._site.id, kind, text)
        return self._numbers[key]


def _is_about_numbers(test: Test) -> bool:
    """Say whether doubles are enough to compare a stored value of whatever type."""
    operand = test.operand
    if isinstance(operand, Measure):
        return True
    return test.operator in ORDER and not isinstance(operand, Money) and abs(as_double(operand)) < EXACT


class _Compiler:
    """Makes one function of a query, over loaded columns."""

    def __init__(
        self,
        zone: tzinfo,
        now_ms: int,
        table: Table,
        event: Callable[[str], Key | None],
        attribute: Callable[[AttributeRule], Key | None],
    ) -> None:
        self._zone = zone
        self._now = now_ms
        self._table = table
        self._event = event
        self._attribute = attribute

    def rule(self, node: Node) -> Rule:
        """Return the function of a node."""
        if isinstance(node, Group):
            rules = [self.rule(child) for child in node.value]
            if node.operator == "AND":
                return _all(rules)
            return _any(rules) if node.operator == "OR" else _not(_any(rules))
        if isinstance(node, AttributeRule):
            return self.about_attribute(node)
        values = self.measured(node.measure)
        if isinstance(node.test.operand, Measure):
            return _against(node.test, values, self.measured(node.test.operand))
        return _counts(node.test, values) if node.test.kind == "count" else self.times(node.test, values)

    def about_attribute(self, rule: AttributeRule) -> Rule:
        """Return the function of a rule about an attribute."""
        test, field = rule.test, rule.field
        if isinstance(test.operand, Measure):
            values = self.compared(rule, counted=isinstance(test.operand, EventMeasure) and test.operand.field == "count")
            return _constant(test.operator in NEGATIVE) if values is None else _against(test, values, self.measured(test.operand))
        if field == "role":
            lead, user = (holds(test, role, self._now, self._zone) for role in ("lead", "user"))
            is_lead = self.values(PEOPLE, "lead")
            return lambda block: np.where(is_lead(block), lead, user)
        if field in _NUMBERS:
            return _numbers(test, self.number(field))
        if field in _INSTANTS:
            return self.times(test, self.instant(field))
        key = self._attribute(rule)
        unset = False if field in FALSE_UNTIL_SET else None
        if key is None:
            return _constant(holds(test, unset, self._now, self._zone))
        if test.kind == "time":
            return self.times(test, self.date(key))
        return _numbers(test, self.values(key, "number")) if key[0] == NUMBER else self.coded(test, key, unset)

    def compared(self, rule: AttributeRule, *, counted: bool) -> Values | None:
        """Return what is compared with a measure, numbers with a count and instants with a time; None where there is no such thing."""
        field = rule.field
        if field in COMPUTED:
            wanted = _NUMBERS if counted else _INSTANTS
            return (self.number(field) if counted else self.instant(field)) if field in wanted else None
        if counted is (rule.test.kind == "time"):
            raise Unsupported(field)
        key = self._attribute(rule)
        if key is None:
            return None
        return self.values(key, "number") if counted else self.date(key)

    def values(self, key: Key, field: str) -> Values:
        """Return an array as it is."""
        return self._table.array(key, field).__getitem__

    def measured(self, measure: Measure) -> Values:
        """Return count, first or last of an event."""
        if not isinstance(measure, EventMeasure):
            raise Unsupported(measure)
        return self.total(measure.event, measure.field)

    def total(self, event: str, field: str) -> Values:
        key = self._event(event)
        if key is None:
            return _nothing(0 if field == "count" else UNKNOWN)
        return self.values(key, field)

    def number(self, field: str) -> Values:
        """Return a number that is worked out."""
        return self.total(PAGE_VIEW, "count") if field == "page_view_count" else self.values(PEOPLE, "visits")

    def instant(self, field: str) -> Values:
        """Return an instant that is worked out."""
        if field == "created_at":
            return self.values(CREATED, "created")
        if field == "last_active_at":
            return self.values(PEOPLE, "active")
        return self.last_seen()

    def last_seen(self) -> Values:
        """Return when people were seen last, told to the second; whether they are still here is a question of milliseconds."""
        ended, rest, here = (self.values(PEOPLE, field) for field in ("ended", "rest", "here"))
        second, more = divmod(self._now - visits.IDLE, 1_000)
        since = second * 1_000

        def seen(block: slice) -> NDArray[Any]:
            end = ended(block)
            is_here = end > since
            in_doubt = end == since
            if in_doubt.any():
                is_here |= in_doubt & (rest(block) > more)
            return np.where(is_here, here(block), end)

        return seen

    def date(self, key: Key) -> Values:
        """Return a stored date, unix seconds, in ms."""
        seconds = self.values(key, "number")
        return lambda block: np.rint(seconds(block) * 1_000)

    def coded(self, test: Test, key: Key, unset: bool | None) -> Rule:
        """Compare each of the different values once, the first being what holds where none was set."""
        known = self._table.columns[key].values
        if known is not None:
            verdicts = [holds(test, value, self._now, self._zone) for value in (unset, *known[1:])]
        elif test.operator in PRESENCE:
            verdicts = [test.operator == "is_unknown", test.operator == "has_any_value"]
        else:
            raise Unsupported(key)
        answers = np.array(verdicts, np.bool_)
        codes = self.values(key, "code")
        return lambda block: answers[codes(block)]

    def times(self, test: Test, values: Values) -> Rule:
        """Compare instants (ms) with a plain operand."""
        operator, operand = test.operator, test.operand
        if operator in NEGATIVE:
            return _not(self.times(_positive(test), values))
        if operator in PRESENCE:
            return _presence(operator, values)
        if operator == "IN":
            return _among(values, operand)
        lowest, highest = bounds(test, self._now, self._zone)
        if lowest is None:
            return lambda block: _known(found := values(block)) & (found <= highest)
        if highest is None:
            return lambda block: values(block) >= lowest
        return lambda block: ((found := values(block)) >= lowest) & (found <= highest)


def _counts(test: Test, values: Values) -> Rule:
    """Compare the count of an event, 0 where it never happened, with a number."""
    operator, operand = test.operator, test.operand
    if operator in PRESENCE:
        return _constant(operator == "has_any_value")
    if operator in NEGATIVE:
        return _not(_counts(_positive(test), values))
    return _among(values, operand) if operator == "IN" else _ordered(operator, values, bindable(operand))


def _numbers(test: Test, values: Values) -> Rule:
    """Compare numbers with an operand of whatever type."""
    operator, operand = test.operator, test.operand
    if operator in NEGATIVE:
        return _not(_numbers(_positive(test), values))
    if operator in PRESENCE:
        return _presence(operator, values)
    if operator in {"=", "IN"}:
        wanted = operand if operator == "IN" else [operand]
        return _among(values, [one for one in wanted if isinstance(one, int | float) and not isinstance(one, bool)])
    if operator not in ORDER or isinstance(operand, Money):
        return _constant(False)
    return _ordered(operator, values, as_double(operand))


def _against(test: Test, values: Values, others: Values) -> Rule:
    """Compare with another measure. One that never happened is older than everything that did, as `UNKNOWN` is."""
    if test.operator in NEGATIVE:
        return _not(_against(_positive(test), values, others))
    compare = _COMPARISONS[test.operator]
    return lambda block: _known(found := values(block)) & compare(found, others(block))


def _positive(test: Test) -> Test:
    return Test(test.kind, POSITIVE[test.operator], test.value, test.operand)


def _ordered(operator: str, values: Values, operand: int | float) -> Rule:
    compare = _COMPARISONS[operator]
    return lambda block: compare(values(block), operand)


def _among(values: Values, wanted: Iterable[int | float]) -> Rule:
    operands = [bindable(one) for one in wanted]
    return _any([_ordered("=", values, one) for one in operands])


def _presence(operator: str, values: Values) -> Rule:
    if operator == "has_any_value":
        return lambda block: _known(values(block))
    return lambda block: ~_known(values(block))


def _known(values: NDArray[Any]) -> Mask:
    known: Mask = ~np.isnan(values) if values.dtype.kind == "f" else values != UNKNOWN
    return known


def _all(rules: list[Rule]) -> Rule:
    def rule(block: slice) -> Mask:
        found = np.ones(block.stop - block.start, np.bool_)
        for one in rules:
            found &= one(block)
            if not found.any():
                break
        return found

    return rule


def _any(rules: list[Rule]) -> Rule:
    def rule(block: slice) -> Mask:
        found = np.zeros(block.stop - block.start, np.bool_)
        for one in rules:
            found |= one(block)
        return found

    return rule


def _not(rule: Rule) -> Rule:
    return lambda block: ~rule(block)


def _constant(value: bool) -> Rule:
    return lambda block: np.full(block.stop - block.start, value)


def _nothing(value: int) -> Values:
    return lambda block: np.full(block.stop - block.start, value, np.int64)


_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "=": np.equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "<": np.less,
    "<=": np.less_equal,
}
