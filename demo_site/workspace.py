"""The signed-in area: reports are created, read and exported, and the plan is upgraded."""

import csv
import hashlib
import io
import secrets
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

from flask import Blueprint, Response, abort, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from demo_site.accounts import config, signed_in, store
from demo_site.catalogue import PLANS, SOURCES, money
from demo_site.leadlight import call_on_next_page, send_event
from demo_site.store import Report

blueprint = Blueprint("workspace", __name__, url_prefix="/app")

WEEKS = 12
LONGEST_TITLE = 80


def figures(report: Report) -> list[tuple[str, int, int]]:
    """Week, value and target of a report: made up from its id, so that the same report always says the same."""
    digest = hashlib.sha256(report.id.encode()).digest()
    monday = datetime.fromtimestamp(report.created_at, UTC).date()
    monday -= timedelta(days=monday.weekday(), weeks=WEEKS)
    base = 120 + digest[0]
    rows = []
    for week in range(WEEKS):
        day = monday + timedelta(weeks=week)
        rows.append((f"{day:%d %b}", base + week * (digest[1] % 9) + digest[week + 2] // 4, base + week * 6 + 30))
    return rows


def exported_metadata(report: Report) -> dict[str, Any]:
    """What `exported-report` says; the link that exports carries it, as the page stays where it is."""
    return {
        "report": {"url": url_for("workspace.report", report_id=report.id, _external=True), "value": report.title},
        "source": SOURCES[report.source],
        "format": "CSV",
        "rows": WEEKS,
        "weekly": report.weekly,
        "report_created_at": report.created_at,
    }


@blueprint.get("")
@signed_in
def reports() -> str:
    """All reports of the account."""
    found = store().reports(g.user.id)
    return render_template("reports.html", reports=found, exported_metadata=exported_metadata, limit=PLANS[g.user.plan].reports)


@blueprint.route("/reports/new", methods=["GET", "POST"])
@signed_in
def new_report() -> BaseResponse | str | tuple[str, int]:
    """Create a report."""
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    if request.method == "GET":
        return render_template("new_report.html", form={"due": tomorrow}, errors={})
    form = {key: request.form.get(key, "").strip() for key in ("title", "source", "due", "weekly")}
    errors = _report_errors(form)
    if errors:
        return render_template("new_report.html", form=form, errors=errors), 422
    report = store().add_report(g.user.id, form["title"], form["source"], weekly=form["weekly"] == "yes", due=form["due"])
    call_on_next_page(
        "track",
        "created-report",
        {
            "report": {"url": url_for("workspace.report", report_id=report.id, _external=True), "value": report.title},
            "source": SOURCES[report.source],
            "weekly": report.weekly,
            "due_date": int(datetime.fromisoformat(report.due).replace(tzinfo=UTC).timestamp()),
            "weeks": WEEKS,
        },
    )
    return redirect(url_for("workspace.report", report_id=report.id), 303)


def _report_errors(form: dict[str, str]) -> dict[str, str]:
    errors: dict[str, str] = {}
    if not 1 <= len(form["title"]) <= LONGEST_TITLE:
        errors["title"] = f"Please give the report a title of up to {LONGEST_TITLE} characters."
    if form["source"] not in SOURCES:
        errors["source"] = "Please choose where the numbers come from."
    try:
        date.fromisoformat(form["due"])
    except ValueError:
        errors["due"] = "Please enter a date."
    limit = PLANS[g.user.plan].reports
    if limit and len(store().reports(g.user.id)) >= limit:
        errors["title"] = f"The {PLANS[g.user.plan].name} plan holds {limit} reports. Upgrade for more."
    return errors


def _report_or_404(report_id: str) -> Report:
    return store().report(g.user.id, report_id) or abort(404)


@blueprint.get("/reports/<report_id>")
@signed_in
def report(report_id: str) -> str:
    """One report: the chart, the table, and the export."""
    found = _report_or_404(report_id)
    rows = figures(found)
    highest = max(max(value, target) for _, value, target in rows)
    return render_template("report.html", report=found, rows=rows, highest=highest, exported_metadata=exported_metadata)


@blueprint.get("/reports/<report_id>.csv")
@signed_in
def export(report_id: str) -> Response:
    """The report as a file."""
    found = _report_or_404(report_id)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("week", "value", "target"))
    writer.writerows(figures(found))
    headers = {"Content-Disposition": f'attachment; filename="{found.id}.csv"'}
    return Response(text.getvalue(), mimetype="text/csv", headers=headers)


@blueprint.route("/plan", methods=["GET", "POST"])
@signed_in
def plan() -> BaseResponse | str | tuple[str, int]:
    """The account's plan, and the way to a larger one. Nobody is charged."""
    choices = [choice for choice in PLANS.values() if choice.monthly > PLANS[g.user.plan].monthly]
    wanted = request.values.get("plan", "")
    if request.method == "GET":
        chosen = wanted if wanted in {choice.key for choice in choices} else (choices[0].key if choices else "")
        return render_template("plan.html", choices=choices, chosen=chosen, error="")
    if wanted not in {choice.key for choice in choices}:
        return render_template("plan.html", choices=choices, chosen="", error="Please choose one of the plans below."), 422
    _upgrade(wanted, yearly=request.form.get("yearly") == "yes")
    return redirect(url_for("workspace.plan"), 303)


def _upgrade(key: str, *, yearly: bool) -> None:
    """Change the plan, tell it from the browser (the thank-you message waits for it) and the invoice from the back end."""
    before, after = PLANS[g.user.plan], PLANS[key]
    now = int(time.time())
    renews = now + (365 if yearly else 30) * 86_400
    store().set_plan(g.user.id, key)
    call_on_next_page(
        "track",
        "upgraded-plan",
        {
            "plan": after.name,
            "previous_plan": before.name,
            "price": money(after.price(yearly=yearly)),
            "yearly": yearly,
            "renews_at": renews,
            "plans_link": url_for("pages.pricing", _external=True),
        },
    )
    invoice = f"INV-{secrets.token_hex(4).upper()}"
    send_event(
        config(),
        g.user,
        "invoice-paid",
        invoice,
        {
            "invoice": {"url": url_for("workspace.plan", _external=True), "value": invoice},
            "amount": money(after.price(yearly=yearly)),
            "plan": after.name,
            "paid_at": now,
            "automatic": True,
        },
    )
