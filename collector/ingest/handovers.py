"""Hand-overs as browsers ask for them: `handover` on the domain that is left, `handover/take` on the one arrived at."""

import functools
import re
from typing import Any

from collector.domain import handovers
from collector.ingest import senders, wire
from collector.ingest.effects import Exchange, Write
from collector.ingest.senders import Headers
from collector.services import Services
from collector.storage.writer import Overloaded
from collector.values.errors import Reason, problem

_DOMAIN = re.compile(r"[a-z0-9][a-z0-9.-]{0,252}")
_STATUS = {Reason.HANDOVER_LIMIT: 429, Reason.NOT_FOUND: 404, Reason.LEAD_SECRET_INVALID: 403}


def hand_over(services: Services, body: bytes, headers: Headers) -> Exchange[dict[str, Any]]:
    """Answer with a parameter that hands the sender's lead over to a domain.

    Raises:
        Problem: the request is not in order, the lead not known, or there were too many; nothing was handed over.
    """
    request = wire.decode(body, wire.HandoverRequest)
    now = services.clock()
    site = yield from senders.find_site(services.sites, request, headers)
    refused = senders.refused_sender(request, headers)
    if refused is not None:
        return {"handover": None, "reason": refused.value}
    if not _DOMAIN.fullmatch(request.to):
        raise problem(400, Reason.FIELD_INVALID, "to", "expected the host name of a domain")
    lead = senders.check_lead(request.lead)
    make = functools.partial(services.handovers.make, site=site, lead=lead, value=request.lead, domain=request.to, now_ms=now)
    made = yield from _written(site.id, make)
    if isinstance(made, Reason):
        raise problem(_STATUS[made], made, "lead", headers=[("Retry-After", "60")] if made is Reason.HANDOVER_LIMIT else [])
    return {"handover": made}


def take_over(services: Services, body: bytes, headers: Headers) -> Exchange[dict[str, Any]]:
    """Answer with the lead that a parameter stands for, in the place of the sender's own; of one signed in, with the session's end.

    Raises:
        Problem: 403 where the sender's own lead is known already, and for whatever is forged, used, late or another domain's: it does
            not say which.
    """
    request = wire.decode(body, wire.TakeRequest)
    now = services.clock()
    site = yield from senders.find_site(services.sites, request, headers)
    refused = senders.refused_sender(request, headers)
    if refused is not None:
        return {"lead": None, "reason": refused.value}
    own = senders.check_lead(request.lead)
    nonce = services.handovers.nonce(site, request.handover, headers.origin, now)
    taken = None
    if nonce is not None:
        work = functools.partial(handovers.take, site=site, keyring=services.keyring, nonce=nonce, own=own)
        taken = yield from _written(site.id, work)
    if taken is None:
        raise problem(403, Reason.HANDOVER_INVALID, "handover")
    answer: dict[str, Any] = {"lead": taken.lead}
    if taken.signed_in:
        answer["session"] = {"expires_at": now + services.settings.session_duration}
    return answer


def _written(site: int, work: Any) -> Exchange[Any]:
    try:
        return (yield Write(site, work))
    except Overloaded:
        raise problem(503, Reason.OVERLOADED, headers=[("Retry-After", "5")]) from None
