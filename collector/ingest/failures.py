"""What is written down of a failure: where it happened, never what was being handled.

Messages of the database quote values, and values carry tokens and addresses.
"""

import logging
import traceback

from collector.storage.faults import ElsewhereError, is_outage, reason

log = logging.getLogger(__name__)


def log_failure(request_id: str, error: Exception) -> None:
    """Log an unexpected exception under the id that the client was told."""
    log.error("request %s failed: %s", request_id, described(error))


def described(error: BaseException) -> str:
    """Return what to log of an exception: its type and its places in the code.

    An outage has no place there, and comes once for each request: a line says what it is.
    """
    if is_outage(error):
        return f"the database cannot be used: {reason(error)}"
    name = str(error) if isinstance(error, ElsewhereError) else type(error).__name__
    return f"{name}\n{places(error)}"


def places(error: BaseException) -> str:
    """Return the places in the code that an exception came through, a few lines each."""
    return "".join(traceback.format_tb(error.__traceback__))
