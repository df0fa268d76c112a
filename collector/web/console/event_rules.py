"""Events without code: the rules that make them, what they counted, and the form that makes one more."""

from collections.abc import Sequence

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
from collector.values.element_rules import ElementRuleDefinition
from collector.values.errors import Problem
from collector.values.metadata import MAX_KEYS
from collector.web.console import current, query_words, rule_form
from collector.web.console.query_words import Rules
from collector.web.console.rule_form import Faulty, Wrong

_MORE = "more"  # what the button sends that asks for one more row


class RuleLine(msgspec.Struct, frozen=True, kw_only=True):
    """One rule in the list. Times in ms.

    `element` is what a rule by selector selects and reads, None for one about page views; `conditions` are about the page, None where
    every page will do. `counted` is what was counted under its event's name; `state` is `counting`, `catching-up` (not applied to the
    whole timeline yet) or `stopped`. What was clicked or submitted before a rule was made cannot be found out: `caught_up_at` is None.
    """

    public_id: str
    event: str
    element: ElementRuleDefinition | None
    conditions: Rules | None
    state: str
    created_at: int
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
        """Store the rule of the form; asked for one more row of metadata, only show the form with it."""
        site = current.site()
        source = rule_form.SOURCES.get(current.field("source")) or abort(400)
        if request.form.get("do") == _MORE and source.has_rows:
            return _page()
        try:
            name, definition = rule_form.read(source)
            services.names.ensure(site.id, EVENT, [name], services.clock())
            services.writer.run(site.id, lambda tx: services.event_rules.create(tx, site.id, name, definition, services.clock()))
        except Faulty as error:
            return _page(error.wrong), 400
        except Problem as problem:  # as many rules by selector as there may be
            return _page([Wrong(error.message) for error in problem.errors]), problem.status
        services.event_rules.forget(site.id)
        return redirect(url_for("console.event_rules_list", made=name), 303)

    @bp.post("/event-rules/<public_id>/stop")
    def event_rule_stop(public_id: str) -> ResponseReturnValue:
        """Let a rule make no more events; those it made stay."""
        site, wanted, now = current.site(), current.public_id(public_id), services.clock()

        def work(tx: Connection) -> bool:
            return event_rules.archive(tx, site.id, wanted, now) or element_rules.archive(tx, site.id, wanted, now)

        if not services.writer.run(site.id, work):
            abort(404)
        services.event_rules.forget(site.id)
        return redirect(url_for("console.event_rules_list"), 303)

    def _page(wrong: Sequence[Wrong] = ()) -> str:
        site, more = current.site(), request.form.get("do") == _MORE
        with services.database.read() as connection:
            found: list[EventRule | ElementRule] = [*event_rules.all_of(connection, site.id), *element_rules.all_of(connection, site.id)]
            sums = rankings.sums(connection, site.id, services.names, {rule.event for rule in found})
        found.sort(key=lambda rule: (rule.archived_at is not None, -rule.id))
        return render_template(
            "event_rules.html",
            lines=[_line(rule, sums[rule.event]) for rule in found],
            made=current.argument("made"),
            wrong=wrong,
            form=request.form,
            sources=rule_form.SOURCES,
            source=_source(),
            rows=rule_form.rows_to_fill(more=more),
            most_rows=MAX_KEYS,
            more=more,
            limits_pages=rule_form.limits_pages(),
            places=rule_form.PLACES,
            compared=rule_form.COMPARED,
            retention_days=services.settings.retention_days,
        )


def _source() -> str:
    """Return which part of the form is shown: that of the form sent, else that of the address, else the first."""
    given = request.form.get("source") or request.args.get("source")
    return given if given in rule_form.SOURCES else next(iter(rule_form.SOURCES))


def _line(rule: EventRule | ElementRule, counted: Sum) -> RuleLine:
    element = rule.definition if isinstance(rule, ElementRule) else None
    page = rule.page if isinstance(rule, EventRule) else rule.definition.page
    caught_up = rule.backfilled_at if isinstance(rule, EventRule) else None
    behind = element is None and caught_up is None
    return RuleLine(
        public_id=rule.public_id,
        event=rule.event,
        element=element,
        conditions=None if page is None else query_words.page_rule(page),
        state="stopped" if rule.archived_at is not None else "catching-up" if behind else "counting",
        created_at=rule.created_at,
        stopped_at=rule.archived_at,
        caught_up_at=caught_up,
        counted=counted,
    )
