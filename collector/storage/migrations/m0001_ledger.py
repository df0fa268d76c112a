"""The first schema: sites, identities, the ledger of facts, messages and their deliveries.

Times are BIGINT milliseconds UTC, flags are 0 or 1, structured values are JSON text. The site comes first in every key. Weekly
tables of events are made by `storage.slices`, by the calendar.
"""

from collector.storage.database import Engine


def statements(engine: Engine) -> list[str]:
    """Return the statements in order."""
    return [*_SITES, *_IDENTITIES, *_FACTS, *_MESSAGES, *_events(engine)]


_SITES = [
    """CREATE TABLE sites (
        id BIGINT PRIMARY KEY, site_key STRING NOT NULL UNIQUE, name STRING NOT NULL, origins STRING NOT NULL,
        time_zone STRING NOT NULL, verification STRING NOT NULL, salt BYTES NOT NULL, identity_secrets STRING NOT NULL,
        settings STRING NOT NULL, created_at BIGINT NOT NULL)""",
    """CREATE TABLE tokens (
        site BIGINT NOT NULL REFERENCES sites(id), id BIGINT NOT NULL, digest BYTES NOT NULL UNIQUE, name STRING NOT NULL,
        created_at BIGINT NOT NULL, revoked_at BIGINT, PRIMARY KEY (site, id))""",
    """CREATE TABLE accounts (
        id BIGINT PRIMARY KEY, email STRING NOT NULL UNIQUE, password_hash STRING NOT NULL, operator SMALLINT NOT NULL,
        created_at BIGINT NOT NULL)""",
    """CREATE TABLE account_sites (
        account BIGINT NOT NULL REFERENCES accounts(id), site BIGINT NOT NULL REFERENCES sites(id), PRIMARY KEY (account, site))""",
]

# A person IS its principal identity: rows with principal_id = id are people, the others are absorbed by the one they point to.
_IDENTITIES = [
    """CREATE TABLE identities (
        site BIGINT NOT NULL, id BIGINT NOT NULL, kind STRING NOT NULL, value STRING NOT NULL, secret_hash BYTES,
        public_id STRING NOT NULL, folded STRING NOT NULL, principal_id BIGINT NOT NULL, created_at BIGINT NOT NULL,
        not_before BIGINT NOT NULL DEFAULT 0,
        active_at BIGINT, own_active_at BIGINT, verified SMALLINT NOT NULL DEFAULT 0, unverified_at BIGINT,
        PRIMARY KEY (site, id)) CLUSTERED""",
    "CREATE UNIQUE INDEX identities_value ON identities (site, kind, value)",
    "CREATE UNIQUE INDEX identities_public ON identities (site, public_id)",
    "CREATE INDEX identities_principal ON identities (site, principal_id)",
    """CREATE TABLE merges (
        site BIGINT NOT NULL, id BIGINT NOT NULL, lead BIGINT NOT NULL, target BIGINT NOT NULL, outcome STRING NOT NULL,
        at BIGINT NOT NULL, by_whom STRING NOT NULL, reason STRING NOT NULL, verified SMALLINT NOT NULL,
        undone_at BIGINT, blocked SMALLINT NOT NULL DEFAULT 0, PRIMARY KEY (site, id))""",
    "CREATE UNIQUE INDEX merges_lead ON merges (site, lead) WHERE outcome = 'merged' AND undone_at IS NULL",
    "CREATE UNIQUE INDEX merges_refused ON merges (site, lead, target) WHERE outcome = 'refused'",
    "CREATE INDEX merges_target ON merges (site, target)",
    """CREATE TABLE tombstones (
        site BIGINT NOT NULL, mac BYTES NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (site, mac)) CLUSTERED""",
]

# count, first, last and value: the person's, on the principal's row only. own_*: this identity alone, which is what stands in the
# timeline, base_* (what was pruned from it) and imported_* (what was imported) together.
_FACTS = [
    """CREATE TABLE names (
        site BIGINT NOT NULL, id BIGINT NOT NULL, kind STRING NOT NULL, text STRING NOT NULL, created_at BIGINT NOT NULL,
        browser SMALLINT NOT NULL, PRIMARY KEY (site, id)) CLUSTERED""",
    "CREATE UNIQUE INDEX names_text ON names (site, kind, text)",
    """CREATE TABLE totals (
        site BIGINT NOT NULL, name BIGINT NOT NULL, identity BIGINT NOT NULL, count BIGINT, last BIGINT, first BIGINT,
        own_count BIGINT NOT NULL DEFAULT 0, own_last BIGINT, own_first BIGINT,
        base_count BIGINT NOT NULL DEFAULT 0, base_last BIGINT, base_first BIGINT,
        imported_count BIGINT NOT NULL DEFAULT 0, imported_last BIGINT, imported_first BIGINT,
        PRIMARY KEY (site, name, identity)) CLUSTERED""",
    "CREATE INDEX totals_identity ON totals (site, identity, name)",
    """CREATE TABLE attributes (
        site BIGINT NOT NULL, attr BIGINT NOT NULL, identity BIGINT NOT NULL, value STRING, num DOUBLE PRECISION, folded STRING,
        set_at BIGINT, source SMALLINT, own_value STRING, own_at BIGINT, own_source SMALLINT,
        PRIMARY KEY (site, attr, identity)) CLUSTERED""",
    "CREATE INDEX attributes_identity ON attributes (site, identity, attr)",
    "CREATE INDEX attributes_email ON attributes (site, folded) WHERE attr = 1",
    """CREATE TABLE visits (
        site BIGINT NOT NULL, identity BIGINT NOT NULL, visit BYTES NOT NULL, started_at BIGINT NOT NULL, ended_at BIGINT NOT NULL,
        context STRING, PRIMARY KEY (site, identity, visit)) CLUSTERED""",
]

_MESSAGES = [
    """CREATE TABLE auto_messages (
        site BIGINT NOT NULL, id BIGINT NOT NULL, public_id STRING NOT NULL, version INTEGER NOT NULL, state STRING NOT NULL,
        name STRING NOT NULL, priority INTEGER NOT NULL, definition STRING NOT NULL, created_at BIGINT NOT NULL,
        updated_at BIGINT NOT NULL, live_since BIGINT, PRIMARY KEY (site, id))""",
    "CREATE UNIQUE INDEX auto_messages_public ON auto_messages (site, public_id)",
    """CREATE TABLE deliveries (
        site BIGINT NOT NULL, identity BIGINT NOT NULL, message BIGINT NOT NULL, n INTEGER NOT NULL, version INTEGER NOT NULL,
        arm STRING NOT NULL, nonce STRING NOT NULL, claimed_at BIGINT NOT NULL, event BYTES, view BYTES, seen_at BIGINT, clicked_at BIGINT,
        answered_at BIGINT, dismissed_at BIGINT, goal_at BIGINT, PRIMARY KEY (site, identity, message, n)) CLUSTERED""",
    "CREATE INDEX deliveries_message ON deliveries (site, message, identity)",
    """CREATE TABLE delivery_links (
        site BIGINT NOT NULL, identity BIGINT NOT NULL, message BIGINT NOT NULL, n INTEGER NOT NULL, link STRING NOT NULL,
        clicked_at BIGINT NOT NULL, PRIMARY KEY (site, identity, message, n, link)) CLUSTERED""",
]


def _events(engine: Engine) -> list[str]:
    slices = "CREATE TABLE slices (slice BIGINT PRIMARY KEY, state STRING NOT NULL, moved BIGINT)"
    if engine == "sqlite":
        return [slices]
    return [
        slices,
        """CREATE TABLE events (
            site BIGINT NOT NULL, slice BIGINT NOT NULL, id BYTES NOT NULL, identity BIGINT NOT NULL, name BIGINT NOT NULL,
            at BIGINT NOT NULL, unverified SMALLINT NOT NULL, visit BYTES, page STRING, metadata STRING,
            PRIMARY KEY (site, slice, id)
        ) PARTITION BY LIST (slice)""",
        "CREATE INDEX events_identity ON events (site, identity, at)",
    ]
