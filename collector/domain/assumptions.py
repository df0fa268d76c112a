"""What a simulation takes for granted, in sentences: a closed set, of which each result names those that it rests on."""

from enum import StrEnum


class Assumption(StrEnum):
    """One thing taken for granted. The text after each member is its sentence; braces hold what only a run knows."""

    ARRIVED = "arrived", "What people did reached the collector when it happened, one thing after the other."
    FRESH = "fresh", "Nobody had got any message before the first day."
    UNANSWERED = (
        "unanswered",
        "Whatever is sent is seen at once; nobody clicks, answers or dismisses it, and it stays until the next page view.",
    )
    TODAY = (
        "today",
        "Live messages, segments, limits between messages and the time zone are on every day those of today.",
    )
    JOINED = "joined", "Who is one person is told by the merges that stand today, each since its own time; what was undone never was."
    TABS = (
        "tabs",
        "Whatever is done is done in the page that was opened last in that browser; of several tabs, or devices, it may have been another.",
    )
    SIGNED_IN = (
        "signed_in",
        "Pages say who is signed in before their view is sent; one that says so later is a visitor's until the next thing done in it.",
    )
    ATTRIBUTES = (
        "attributes",
        "These attributes are taken as they are today, for their past is not kept: {names}.",
    )
    PAGES = (
        "pages",
        "Of an address, page rules see what the timeline keeps: the query parameters that trackers were told to send then.",
    )
    TOTALS = "totals", "Totals are rewound by taking the timeline's events away; what was imported counts as if it had always been there."
    TIMELINE = (
        "timeline",
        "Conditions on metadata and on the last days see nothing from before {since}, where the timeline begins, and may find less than "
        "they would have found in the first days.",
    )
    EVENTS = "events", "An event opens a message at the next thing that a browser sends, within a day; no page that stays open asks again."
    SECONDS = (
        "seconds",
        "Somebody has stayed in a page until the next thing known of it or of the visit; where nothing more is known, it was left at once.",
    )
    IN_VIEW = "in_view", "Scrolling far enough, and the intent to leave, come with each page view at once."
    UNPROVED = "unproved", "A browser that merely says to be a user is taken for one of that user's own."
    DATES = "dates", "The dates of the message's schedule are left out; its hours of the week are kept."
    OTHER_DATES = "other_dates", "Other live messages have been within the dates of their schedules all along."
    PAUSED = "paused", "That all messages of the site are paused now is left out."
    LEFT_OUT = "left_out", "These live messages take nobody's turn, for their past cannot be told or nothing opens them by itself: {names}."
    INTERNAL = "internal", "Internal people are left out, as in a message's numbers."
    TOO_MANY = "too_many", "People with more than {most} events are left out: {people}."

    sentence: str

    def __new__(cls, code: str, sentence: str) -> "Assumption":
        """Make a member that is its code."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.sentence = sentence
        return member
