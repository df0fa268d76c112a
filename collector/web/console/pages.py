"""Where one stands in a long list."""

import msgspec


class Pages(msgspec.Struct, frozen=True):
    """Page `number` (from 1) of a list of `total` entries."""

    number: int
    per_page: int
    total: int

    @property
    def first(self) -> int:
        """The place of the first entry shown; 0 where there is none."""
        return min((self.number - 1) * self.per_page + 1, self.total)

    @property
    def last(self) -> int:
        """The place of the last entry shown."""
        return min(self.number * self.per_page, self.total)

    @property
    def count(self) -> int:
        """How many pages there are."""
        return max(-(-self.total // self.per_page), 1)

    @property
    def previous(self) -> int | None:
        """The page before; where one went beyond the end, the last one."""
        return min(self.number - 1, self.count) if self.number > 1 else None

    @property
    def next(self) -> int | None:
        """The page after."""
        return self.number + 1 if self.number < self.count else None
