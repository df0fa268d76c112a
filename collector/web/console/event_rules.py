"""Events without code: the rules that make them, what they counted, and the form that makes one more."""

import msgspec
from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from collector.domain import element_rules, event_rules, rankings
from collector.domain.element_rules import ElementRule
from collector.domain.event_rules import EventRule
from collector.domain.names import EVENT
from collector.domain.rankings import Sum
from collector.services import Services
from collector.storage.database import Connection
from collector.web.console import current, query_words, rule_form
from collector.web.console.asked import Unreadable
from collector.web.console.query_words import Rules


class RuleLine(msgspec.Struct, frozen=True):
    """One rule in the list. Times in ms.

    `counted` is what was counted under its event's name; `state` is `counting`, `catching-up` (not applied to the whole timeline
    yet) or `stopped`. `caught_up_at` is None for rules that never go back.
    """

    public_id: str
    event: str
    conditions: Rules
    state: str
    stopped_at: int | None
    caught_up_at: int | None
    counted: Sum


def register(bp: Blueprint, services: Services) -> None:
    """Add the views to the console."""

    @bp.get("/event-rules")
    def event_rules_list() -> ResponseReturnValue:
        """List the rules, those that still count first, with the form for another one."""
        return _page()

    @bp.post("/event-rules")
    def event_rule_create() -> ResponseReturnValue:
        """Store the rule of the form."""
        site, now = current.site(), services.clock()
        source = rule_form.SOURCES.get(current.field("source")) or abort(400)
        try:
            name, definition = rule_form.event_name(), source.read()
        except Unreadable as error:
            return _page(error), 400
        services.names.ensure(site.id, EVENT, [name], now)
        services.writer.run(site.id, lambda tx: services.event_rules.create(tx, site.id, name, definition, now))
        services.event_rules.forget(site.id)
        return redirect(url_for("console.event_rules_list", made=name), 303)

    @bp.post("/event-rules/<public_id>/stop")
    def event_rule_stop(public_id: str) -> ResponseReturnValue:
        """Let a rule make no more events; those it made stay."""
        site, wanted = current.site(), current.public_id(public_id)

        def work(tx: Connection) -> bool:
            now = services.clock()
            return event_rules.archive(tx, site.id, wanted, now) or element_rules.archive(tx, site.id, wanted, now)

        if not services.writer.run(site.id, work):
            abort(404)
        services.event_rules.forget(site.id)
        return redirect(url_for("console.event_rules_list"), 303)

    def _page(wrong: Unreadable | None = None) -> str:
        site = current.site()
        with services.database.read() as connection:
            found: list[EventRule | ElementRule] = [*event_rules.all_of(connection, site.id), *element_rules.all_of(connection, site.id)]
            sums = rankings.sums(connection, site.id, services.names, {rule.event for rule in found})
        found.sort(key=lambda rule: (rule.archived_at is not None, -rule.id))
        lines = [_line(rule, sums[rule.event]) for rule in found]
        return render_template(
            "event_rules.html",
            lines=lines,
            made=current.argument("made"),
            wrong=wrong,
            form=request.form,
            sources=rule_form.SOURCES,
            source=_source(),
            places=rule_form.PLACES,
            compared=rule_form.COMPARED,
            retention_days=services.settings.retention_days,
        )


def _source() -> str:
    """Return which part of the form is shown: that of the form sent, else that of the address, else the first."""
    given = request.form.get("source") or request.args.get("source")
    return given if given in rule_form.SOURCES else next(iter(rule_form.SOURCES))


def _line(rule: EventRule | ElementRule, counted: Sum) -> RuleLine:
    of_views = isinstance(rule, EventRule)
    caught_up = rule.backfilled_at if isinstance(rule, EventRule) else None
    state = "stopped" if rule.archived_at is not None else "catching-up" if of_views and caught_up is None else "counting"
    conditions = query_words.page_rule(rule.page) if isinstance(rule, EventRule) else query_words.element_rule(rule.definition)
    return RuleLine(
        public_id=rule.public_id,
        event=rule.event,
        conditions=conditions,
        state=state,
        stopped_at=rule.archived_at,
        caught_up_at=caught_up,
        counted=counted,
    )
