"""How many people a query describes, as exact as SQL at the moment of the question, and as fast as memory allows."""

from collector.domain.columns import Columns
from collector.domain.names import Names
from collector.domain.selection import select
from collector.domain.sites import Site
from collector.storage.database import Connection
from collector.values.query_tree import Node


def count(connection: Connection, columns: Columns, site: Site, names: Names, node: Node, now_ms: int, retention_ms: int) -> int:
    """Return how many people a query describes that asks for no segment any more (`segments.expand`)."""
    known = columns.count(site, node, now_ms)
    if known is not None:
        return known
    with select(connection, site, names, node, now_ms, retention_ms) as (found, _):
        return found.count(connection)
