"""The script that applies a site's rules by selector: code and rules in one file, named by its content.

So a browser fetches it once, keeps it for good, and fetches another when a rule is made or archived. Sites without such rules have none.
"""

from collections.abc import Sequence

import msgspec

from collector.domain.element_rules import ElementRule
from collector.scripts import Asset, asset, load


class RuleScripts:
    """Makes the scripts; the newest of each site is kept."""

    def __init__(self) -> None:
        self._code = load("rules.js").plain
        self._made: dict[str, tuple[tuple[int, ...], Asset]] = {}

    def script(self, site_key: str, rules: Sequence[ElementRule]) -> Asset:
        """Return the script for these rules of a site."""
        numbers = tuple(rule.id for rule in rules)  # a rule is never changed
        kept = self._made.get(site_key)
        if kept is not None and kept[0] == numbers:
            return kept[1]
        data = msgspec.json.encode([rule.definition.for_browser(rule.event) for rule in rules])
        made = asset(b"const RULES=" + data + b";\n" + self._code)
        self._made[site_key] = (numbers, made)
        return made

    def name(self, site_key: str, rules: Sequence[ElementRule]) -> str | None:
        """Return the script's file name, as the tracker is told it; None without rules."""
        return f"rules-{site_key}-{self.script(site_key, rules).hash}.js" if rules else None
