"""Crawlers and automated browsers, by their user agent. They are stored nowhere; a site may ask for its own tests to count."""

import functools
import re

from ua_parser import parse_device

_AUTOMATED = re.compile(r"HeadlessChrome|PhantomJS|Lighthouse|PageSpeed|GTmetrix|Pingdom", re.IGNORECASE)


@functools.lru_cache(maxsize=4_096)
def is_bot(user_agent: str) -> bool:
    """Say whether this user agent is a crawler's or an automated browser's."""
    if _AUTOMATED.search(user_agent):
        return True
    device = parse_device(user_agent)
    return device is not None and device.family == "Spider"
