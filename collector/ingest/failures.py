"""What is written down of a failure: where it happened, never what was being handled.

Messages of the database quote values, and values carry tokens and addresses.
"""

import logging
import traceback

log = logging.getLogger(__name__)


def log_failure(request_id: str, error: Exception) -> None:
    """Log an unexpected exception under the id that the client was told: its type and its places in the code."""
    log.error("request %s failed: %s\n%s", request_id, type(error).__name__, places(error))


def places(error: BaseException) -> str:
    """Return the places in the code that an exception came through, a few lines each."""
    return "".join(traceback.format_tb(error.__traceback__))
