"""Hypothesis strategies that several tests of values share."""

from hypothesis import strategies as st

# Lone surrogates included: a browser may send them escaped.
ANY_TEXT = st.text(st.characters(), max_size=40)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.integers(10**30, 10**31)
TELLING_TEXTS = st.sampled_from(
    ["https://example.com/a", "http://[", "mailto:a@b", "2026-03-01", "2026-03-01T10:00:00Z", "9999-12-31T23:59:59-23:59",
     "0001-01-01", "\x00", "\ud800"]
)  # fmt: skip
JSON = st.recursive(
    SCALARS | TELLING_TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)


def objects(*keys: str) -> st.SearchStrategy[dict[str, object]]:
    """Objects that have some of these keys, any others, and any JSON under them."""
    return st.dictionaries(st.sampled_from(keys) | ANY_TEXT, JSON, max_size=8)
