"""Queries too large for one statement: how they are cut into parts, each of which selects its people by itself.

Engines bound a statement: SQLite joins 64 tables, nests a hundred brackets and adds up a thousand conditions, PostgreSQL binds 65,535
parameters. What is asked for may be more than that: 200 different events, lists of a thousand values, segments.
"""

from collections.abc import Sequence

from collector.values.query_tree import EventMeasure, Group, MessageMeasure, Node

HEAVIEST = 24
"""The weight of one statement: about the tables it joins."""
DEEPEST = 8
"""Groups inside each other in one statement."""
WIDEST = 100
"""Conditions side by side in one statement."""
_VALUES = 250
"""Values of a list that weigh as much as a rule."""


def weight(node: Node) -> float:
    """Return what a node weighs."""
    if isinstance(node, Group):
        total = 0.0
        for child in node.value:  # a loop, not a comprehension: each level of nesting costs one frame
            total += weight(child)
        return total
    operand = node.test.operand
    if isinstance(operand, EventMeasure | MessageMeasure):
        return 2.0
    return 1.0 + (len(operand) / _VALUES if isinstance(operand, frozenset) else 0.0)


def is_large(group: Group) -> bool:
    """Say whether a group is more than one statement takes."""
    return weight(group) > HEAVIEST or len(group.value) > WIDEST


def packed(group: Group) -> Sequence[Node]:
    """Return few nodes that mean together what the children of a group do, each as light as can be."""
    # None of several holds where none of their unions does.
    operator = "AND" if group.operator == "AND" else "OR"
    packs: list[list[Node]] = []
    room = 0.0
    for child in group.value:
        needed = weight(child)
        if not packs or needed > room or len(packs[-1]) == WIDEST:
            packs.append([])
            room = HEAVIEST
        packs[-1].append(child)
        room -= needed
    nodes: list[Node] = [pack[0] if len(pack) == 1 else Group(operator, tuple(pack)) for pack in packs]
    while len(nodes) > WIDEST:
        nodes = [Group(operator, tuple(nodes[start : start + WIDEST])) for start in range(0, len(nodes), WIDEST)]
    return nodes
