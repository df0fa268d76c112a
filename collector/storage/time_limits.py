"""Time limits that PostgreSQL's role or server sets, lifted for what takes as long as there is to read or to write: an operator's commands.

What visitors wait for keeps to them.
"""

from collector.storage.database import Connection

_OF_STATEMENTS = ("statement_timeout", "transaction_timeout")
_OF_TRANSACTIONS = (*_OF_STATEMENTS, "idle_in_transaction_session_timeout")


def lift(tx: Connection) -> None:
    """Let this transaction take its time, also between two statements."""
    _lift(tx, _OF_TRANSACTIONS)


def lift_of_statements(tx: Connection) -> None:
    """Let statements and transaction take their time; between two statements it takes none."""
    _lift(tx, _OF_STATEMENTS)


def lift_between_transactions(connection: Connection) -> None:
    """Let a connection wait for its next transaction for as long as it is open."""
    _lift(connection, ("idle_session_timeout",), of_transaction=False)


def _lift(connection: Connection, names: tuple[str, ...], *, of_transaction: bool = True) -> None:
    if connection.engine == "postgresql":  # which does not know all of them in each version
        condition, parameters = connection.among(names)
        sql = f"SELECT set_config(name, '0', {str(of_transaction).lower()}) FROM pg_settings WHERE name {condition}"
        connection.rows(sql, parameters)
