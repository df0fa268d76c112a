"""The shop: products, the cart (in the session cookie), checkout and the order that follows."""

import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, abort, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response

from demo_site.catalogue import PRODUCTS, Product, money
from demo_site.leadlight import call_on_next_page
from demo_site.pages import EMAIL

blueprint = Blueprint("shop", __name__)

MOST_OF_ONE = 20
SHIPPING = 490
FREE_SHIPPING_FROM = 5000


def cart() -> dict[str, int]:
    """Quantity by slug; what is no longer sold falls out."""
    kept: dict[str, int] = session.get("cart", {})
    return {slug: quantity for slug, quantity in kept.items() if slug in PRODUCTS}


def cart_lines() -> list[tuple[Product, int, int]]:
    """Product, quantity and price of each line of the cart."""
    return [(PRODUCTS[slug], quantity, PRODUCTS[slug].price * quantity) for slug, quantity in cart().items()]


def totals() -> dict[str, int]:
    """Goods, shipping and the sum."""
    goods = sum(price for _, _, price in cart_lines())
    shipping = 0 if goods >= FREE_SHIPPING_FROM or goods == 0 else SHIPPING
    return {"goods": goods, "shipping": shipping, "sum": goods + shipping}


def added_metadata(product: Product) -> dict[str, Any]:
    """What `added-to-cart` says about a product; the page adds the quantity that was chosen."""
    return {
        "item": product.name,
        "product": {"url": url_for("shop.product", slug=product.slug, _external=True), "value": product.slug},
        "price": money(product.price),
        "quantity": 1,
        "few_left": product.few_left,
        "image": url_for("static", filename=f"img/{product.image}", _external=True),
    }


@blueprint.get("/shop")
def products() -> str:
    """All products."""
    return render_template("shop.html", products=PRODUCTS.values(), added_metadata=added_metadata)


@blueprint.get("/shop/<slug>")
def product(slug: str) -> str:
    """One product."""
    found = PRODUCTS.get(slug) or abort(404)
    return render_template("product.html", product=found, added_metadata=added_metadata)


@blueprint.get("/cart")
def show_cart() -> str:
    """The cart."""
    return render_template("cart.html", lines=cart_lines(), totals=totals(), free_from=FREE_SHIPPING_FROM)


@blueprint.post("/cart/add")
def add() -> Response:
    """Put something in the cart. The page itself tells Leadlight, on the way out."""
    slug = request.form.get("product", "")
    if slug not in PRODUCTS:
        abort(404)
    quantity = request.form.get("quantity", 1, type=int)
    session["cart"] = cart() | {slug: min(max(cart().get(slug, 0) + max(quantity, 1), 1), MOST_OF_ONE)}
    return redirect(url_for("shop.show_cart"), 303)


@blueprint.post("/cart/remove")
def remove() -> Response:
    """Take something out of the cart."""
    slug = request.form.get("product", "")
    session["cart"] = {kept: quantity for kept, quantity in cart().items() if kept != slug}
    return redirect(url_for("shop.show_cart"), 303)


@blueprint.route("/checkout", methods=["GET", "POST"])
def checkout() -> Response | str | tuple[str, int]:
    """Name and email, then the order is placed: nothing is charged or shipped."""
    if not cart():
        return redirect(url_for("shop.show_cart"), 303)
    errors: dict[str, str] = {}
    form = {key: request.form.get(key, "").strip() for key in ("name", "email", "note")}
    if request.method == "POST":
        if not form["name"]:
            errors["name"] = "Please enter the name on the parcel."
        if not EMAIL.fullmatch(form["email"]):
            errors["email"] = "Please enter an email address, such as you@example.com."
        if not errors:
            return _place_order(gift=request.form.get("gift") == "yes")
        call_on_next_page("track", "form-error", {"form": "checkout", "field": next(iter(errors)), "problem": next(iter(errors.values()))})
    page = render_template("checkout.html", lines=cart_lines(), totals=totals(), form=form, errors=errors)
    return (page, 422) if errors else page


def _place_order(*, gift: bool) -> Response:
    number = f"PS-{secrets.randbelow(900_000) + 100_000}"
    delivery = (datetime.now(UTC) + timedelta(days=4)).date()
    call_on_next_page(
        "track",
        "checked-out",
        {
            "order_number": {"url": url_for("shop.order", _external=True), "value": number},
            "total": money(totals()["sum"]),
            "items": sum(cart().values()),
            "gift": gift,
            "delivery_date": int(datetime.combine(delivery, datetime.min.time(), UTC).timestamp()),
        },
    )
    session["order"] = {"number": number, "total": totals()["sum"], "delivery": delivery.isoformat(), "at": int(time.time())}
    session["cart"] = {}
    return redirect(url_for("shop.order"), 303)


@blueprint.get("/order")
def order() -> Response | str:
    """The order placed last in this browser."""
    if "order" not in session:
        return redirect(url_for("shop.products"), 303)
    return render_template("order.html", order=session["order"])
