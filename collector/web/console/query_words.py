"""Audiences, page rules, triggers and frequencies in the words of a marketer. The JSON stays the precise form and is shown beside."""

import msgspec

from collector.values import query_words
from collector.values.messages import AutoMessageDefinition
from collector.values.page_rules import FieldRule, PageRule
from collector.values.query_tree import AttributeRule, EventMeasure, EventRule, Group, MessageMeasure, MessageRule, Node, Test
from collector.values.wording import counted


class Line(msgspec.Struct, frozen=True):
    """One line of a tree: a group is opened (`open`) and closed (`close`) around its lines, a `rule` stands alone."""

    kind: str
    text: str = ""
    holds: bool | None = None
    """The verdict, where there is one."""


class Rules(msgspec.Struct, frozen=True):
    """A group of rules: what joins them, and each as text or as a group of its own."""

    label: str
    items: "list[str | Rules]"

    @property
    def lines(self) -> list[Line]:
        """The rules line by line, so that the deepest query can be shown."""
        lines: list[Line] = []
        waiting: list[str | Rules | Line] = [*reversed(self.items)]
        while waiting:
            top = waiting.pop()
            if isinstance(top, Rules):
                lines.append(Line("open", top.label))
                waiting.append(Line("close"))
                waiting.extend(reversed(top.items))
            else:
                lines.append(top if isinstance(top, Line) else Line("rule", top))
        return lines


_JOINED = {"AND": "All of these hold", "OR": "At least one of these holds", "NOT": "None of these holds"}
_TIMES = {"=": "exactly", "!=": "not exactly", ">": "more than", "<": "fewer than", ">=": "at least", "<=": "at most"}
_PLACES = {"host": "the host", "path": "the path", "url": "the whole address"}
_PLACED = {"is": "is", "starts": "starts with", "contains": "contains", "wildcard": "matches"}


def audience(node: Node) -> Rules:
    """Return an audience in words."""
    words = _node(node)
    return words if isinstance(words, Rules) else Rules("People for whom this holds", [words])


def in_short(node: Node) -> str:
    """Return a query in one line: its one rule, or how many there are."""
    words = _node(node)
    if isinstance(words, str):
        return words
    only = words.items[0] if len(words.items) == 1 else None
    return f"{words.label}: {only if isinstance(only, str) else counted(len(words.items), 'rule')}"


def page_rule(rule: PageRule) -> Rules:
    """Return a page rule in words."""
    words = _page(rule)
    return words if isinstance(words, Rules) else Rules("Pages where this holds", [words])


def trigger(definition: AutoMessageDefinition) -> str:
    """Return in words what opens a message."""
    made = definition.trigger
    if made.type == "event":
        return f"When the person does “{made.event}”{query_words.where(made.where)}"
    return {
        "page": "When a page opens",
        "manual": "Only when the page asks for it: leadlight('showMessage', …)",
        "time": f"{query_words.number(made.seconds or 0)} s after a page opened",
        "scroll": f"When the page was scrolled to {query_words.number(made.percent or 0)} %",
        "exit_intent": "When the pointer leaves the page at the top",
    }.get(made.type, made.type)


def frequency(definition: AutoMessageDefinition) -> str:
    """Return in words how often one person gets a message."""
    made = definition.frequency
    if made.type == "once":
        return "Once"
    if made.type == "until_acted":
        return "Until the person clicks, answers or dismisses it"
    most = f", at most {counted(made.max, 'time')}" if made.max else ""
    gap = f", at most once every {counted(made.every_days, 'day')}" if made.every_days else ""
    return f"Every time{most}{gap}"


def _node(node: Node) -> "str | Rules":
    match node:
        case Group():
            return Rules(_JOINED[node.operator], [_node(child) for child in node.value])
        case AttributeRule():
            return f"{query_words.field_name(node.field)} {query_words.compared(node.test)}"
        case EventRule():
            return _event(node.measure, node.test)
        case MessageRule():
            return f"The time the message {node.measure.message} was {node.measure.field} {query_words.compared(node.test)}"


def _event(measure: EventMeasure, test: Test) -> str:
    name = query_words.event(measure)
    if measure.field != "count":
        return f"The {measure.field} {name} {query_words.compared(test)}"
    if test.operator not in _TIMES or isinstance(test.value, EventMeasure | MessageMeasure):
        return f"How often {name} happened {query_words.compared(test)}"
    if (test.operator, test.value) in (("=", 0), ("<", 1), ("<=", 0)):
        return f"Never did {name}"
    if (test.operator, test.value) in ((">", 0), (">=", 1)):
        return f"Did {name} at least once"
    return f"Did {name} {_TIMES[test.operator]} {query_words.number(test.value)} {'time' if test.value == 1 else 'times'}"


def _page(rule: PageRule) -> "str | Rules":
    if not isinstance(rule, FieldRule):
        return Rules(_JOINED[rule.operator], [_page(child) for child in rule.value])
    place = _PLACES.get(rule.field, f"the query parameter {rule.name}")
    return f"{place[0].upper()}{place[1:]} {_PLACED[rule.operator]} “{rule.value}”"
