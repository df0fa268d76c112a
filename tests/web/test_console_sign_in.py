"""Who is let into the console, and from where changes are taken."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from collector.domain import accounts
from collector.values.clock import DAY, MINUTE
from collector.web.console import attempts as attempts_module
from collector.web.console import cookies
from collector.web.console.attempts import MOST, MOST_ANYWHERE, WINDOW, Attempts
from tests.support.clock import FakeClock
from tests.web.test_console_support import EMAIL, OWN_PAGE, PASSWORD, Console, Parsed, console

THREADS = 16
GENERIC = "That email and password do not belong together."


@pytest.fixture
def on(database_url: str, clock: FakeClock) -> Iterator[Console]:
    with console(database_url, clock) as running:
        yield running


def test_a_stranger_is_led_to_the_form_and_back(on: Console) -> None:
    answer = on.get("/people/find?user_id=u-1")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/sign-in?next=/console/people/find?user_id%3Du-1")
    answer = on.sign_in(next="/console/people/find?user_id=u-1")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/people/find?user_id=u-1")


def test_the_console_begins_with_people(on: Console) -> None:
    on.sign_in()
    assert on.get("/").headers["Location"] == "/console/people"
    assert on.get("/people").status_code == 200


def test_emails_are_found_without_regard_to_case(on: Console) -> None:
    assert on.sign_in(" ADA@Example.com ").status_code == 303


@pytest.mark.parametrize(
    ("email", "password"),
    [(EMAIL, "wrong"), ("nobody@example.com", PASSWORD), ("", ""), ("a\x00b@example.com", PASSWORD), (EMAIL, "x" * 2_000)],
)
def test_wrong_credentials_are_not_explained(on: Console, email: str, password: str) -> None:
    answer = on.sign_in(email, password)
    assert answer.status_code == 401
    assert GENERIC in answer.text
    assert "Set-Cookie" not in answer.headers
    assert password not in answer.text or password == ""


def test_sign_out_ends_the_session_in_the_browser(on: Console) -> None:
    on.sign_in()
    answer = on.post("/sign-out")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/sign-in")
    assert on.get("/people").status_code == 303


def test_a_link_signs_nobody_out(on: Console) -> None:
    on.sign_in()
    assert on.get("/sign-out").status_code == 404
    assert on.get("/people").status_code == 200


def test_the_cookie_on_loopback(on: Console) -> None:
    cookie = on.sign_in().headers["Set-Cookie"]
    assert cookie.startswith("leadlight=")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Path=/console" in cookie
    assert "Secure" not in cookie


def test_the_cookie_on_https_is_bound_to_the_host(database_url: str, clock: FakeClock) -> None:
    with console(database_url, clock, "https://ll.example.com") as on:
        cookie = on.sign_in().headers["Set-Cookie"]
        assert cookie.startswith("__Host-leadlight=")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=Strict"} <= {part.strip() for part in cookie.split(";")}
        assert "Domain" not in cookie
        assert on.get("/people").status_code == 200


def test_behind_a_proxy_that_ends_tls_the_cookie_is_secure(database_url: str, clock: FakeClock) -> None:
    with console(database_url, clock, "http://ll.example.com", public_url="https://ll.example.com") as on:
        assert on.sign_in().headers["Set-Cookie"].startswith("__Host-leadlight=")


def test_plain_http_elsewhere_refuses_to_sign_in_and_says_why(database_url: str, clock: FakeClock) -> None:
    with console(database_url, clock, "http://ll.example.com") as on:
        text = Parsed(on.get("/sign-in").text).text
        assert "plain http" in text
        assert "behind a proxy that ends TLS, LEADLIGHT_PUBLIC_URL has to be this address, such as https://ll.example.com" in text
        answer = on.sign_in()
        assert answer.status_code == 400
        assert "LEADLIGHT_INSECURE_COOKIES" in answer.text
        assert "Set-Cookie" not in answer.headers


def test_plain_http_elsewhere_can_be_allowed(database_url: str, clock: FakeClock) -> None:
    with console(database_url, clock, "http://ll.example.com", insecure_cookies=True) as on:
        assert on.sign_in().headers["Set-Cookie"].startswith("leadlight=")


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1", "127.8.8.8:1", "[::1]:8000", "a.localhost"])
def test_loopback_hosts(host: str) -> None:
    assert cookies.is_loopback(host)


@pytest.mark.parametrize("host", ["", "localhost.example.com", "127.0.0.1.example.com", "10.0.0.1", "[::2]", "[", "example.com"])
def test_other_hosts_are_not_loopback(host: str) -> None:
    assert not cookies.is_loopback(host)


def test_a_session_ends_by_age(on: Console) -> None:
    on.sign_in()
    on.clock.advance(13 * DAY)
    assert on.get("/people").status_code == 200
    on.clock.advance(DAY)
    assert on.get("/people").status_code == 303


def test_a_new_password_ends_every_session(on: Console) -> None:
    on.sign_in()
    with on.services.database.read() as connection:
        found = accounts.by_email(connection, EMAIL)
    assert found is not None
    on.services.writer.run(0, lambda tx: accounts.set_password(tx, found.id, "another one"))
    assert on.get("/people").status_code == 303
    assert on.sign_in(password="another one").status_code == 303


@pytest.mark.parametrize("purpose", ["session", "console"])
def test_a_forged_or_foreign_token_is_nobody(on: Console, purpose: str) -> None:
    token = on.services.keyring.sign(purpose, {"account": 1, "stamp": "x", "at": on.clock()})
    on.browser.set_cookie("leadlight", token, domain="127.0.0.1", path="/console")
    assert on.get("/people").status_code == 303


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/console/", "//evil.example", "/\\evil.example", "/console/../api", "/console/%2e%2e/x", "/consolex",
        "/api/me",
        "javascript:alert(1)", "/console/sign-in?next=/console/sign-in", "/console/\r\nSet-Cookie: x=1", "",
    ],
)  # fmt: skip
def test_after_signing_in_one_stays_in_the_console(on: Console, wanted: str) -> None:
    assert on.sign_in(next=wanted).headers["Location"] == "/console/"


# -- changes from elsewhere


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:8000"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "https://127.0.0.1:8000"},
        {"Referer": "https://evil.example/console/"},
        {},
    ],
)
@pytest.mark.parametrize("path", ["/sign-in", "/sign-out"])
def test_changes_from_elsewhere_are_refused(on: Console, path: str, headers: dict[str, str]) -> None:
    on.sign_in()
    answer = on.post(path, {"email": EMAIL, "password": PASSWORD}, headers)
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers
    assert on.get("/people").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        OWN_PAGE,
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://127.0.0.1:8000"},
        {"Referer": "http://127.0.0.1:8000/console/sign-in"},
    ],
)
def test_changes_from_our_own_pages_are_taken(on: Console, headers: dict[str, str]) -> None:
    assert on.post("/sign-in", {"email": EMAIL, "password": PASSWORD}, headers).status_code == 303


def test_a_link_on_another_site_brings_somebody_signed_in_along(on: Console) -> None:
    """The strict cookie stays behind on the way here; a page of our own leads on to the same address, with it."""
    answer = on.get('/people/find?user_id="><script>', headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"})
    assert answer.status_code == 200
    assert 'content="0; url=/console/people/find?user_id=' in answer.text
    assert "<script>" not in answer.text
    assert "script" not in Parsed(answer.text).tags


# -- attempts


def test_too_many_attempts_for_one_email_have_to_wait(on: Console) -> None:
    on.account("grace@example.com", on.site)
    for _ in range(MOST):
        assert on.sign_in(password="wrong").status_code == 401
    answer = on.sign_in()
    assert answer.status_code == 429
    assert "Too many attempts" in answer.text
    assert on.sign_in("grace@example.com").status_code == 303
    on.clock.advance(WINDOW)
    assert on.sign_in().status_code == 303


def test_attempts_are_counted_alike_for_emails_nobody_has() -> None:
    attempts = Attempts(FakeClock(), THREADS)
    assert [attempts.allow("x", "here") for _ in range(MOST + 1)] == [True] * MOST + [False]


def test_a_stranger_at_another_address_does_not_lock_the_owner_out() -> None:
    attempts = Attempts(FakeClock(), THREADS)
    for _ in range(MOST + 1):
        attempts.allow("owner@example.com", "203.0.113.9")
    assert attempts.allow("owner@example.com", "198.51.100.7")


def wrong(on: Console, forwarded_for: str, email: str = EMAIL) -> int:
    """Try a wrong password by way of the proxy on this machine, and return the status."""
    data = {"email": email, "password": "wrong"}
    return on.post("/sign-in", data, {**OWN_PAGE, "X-Forwarded-For": forwarded_for}).status_code


def test_behind_a_proxy_a_stranger_does_not_lock_the_owner_out_either(database_url: str, clock: FakeClock) -> None:
    with console(database_url, clock, trusted_proxies=("127.0.0.1",)) as on:
        assert [wrong(on, "203.0.113.9") for _ in range(MOST + 1)] == [401] * MOST + [429]
        assert wrong(on, "198.51.100.7, 203.0.113.9") == 429, "what a stranger puts before the own address changes nothing"
        assert wrong(on, "203.0.113.9, 198.51.100.7") == 401


def test_nobody_but_a_proxy_says_where_somebody_comes_from(on: Console) -> None:
    assert [wrong(on, f"203.0.113.{number}") for number in range(MOST + 1)] == [401] * MOST + [429]


@pytest.mark.parametrize(("threads", "at_once"), [(1, 2), (16, 2), (51, 6), (64, 8), (1_000, 12)])
def test_more_than_a_few_who_sign_in_at_once_are_told_to_come_again(
    database_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, threads: int, at_once: int
) -> None:
    """A check takes a core for a while. Who waits for one holds a thread of the console, half of which others are to find free."""
    going_on, more = threading.Event(), 8
    with console(database_url, clock, threads=threads) as on:
        assert at_once <= on.services.settings.console_threads // 2
        monkeypatch.setattr(attempts_module, "_PATIENCE_SECONDS", 600)
        monkeypatch.setattr(accounts, "authenticate", lambda *_: going_on.wait() and None)
        with ThreadPoolExecutor(at_once + more) as pool:

            def sign_in(number: int) -> TestResponse:
                data = {"email": f"{number}@example.com", "password": PASSWORD}
                return on.new_browser().post("/console/sign-in", data=data, headers=OWN_PAGE, base_url=on.base_url)

            asked = [pool.submit(sign_in, number) for number in range(at_once + more)]
            try:
                refused = [one.result() for one in islice(as_completed(asked, timeout=60), more)]
                assert [(one.status_code, one.headers["Retry-After"]) for one in refused] == [(503, "5")] * more
                assert [on.sign_in().status_code for _ in range(MOST + 1)] == [503] * (MOST + 1), "what nobody checked is no attempt"
            finally:
                going_on.set()
            assert sorted(one.result().status_code for one in asked) == [401] * at_once + [503] * more
        monkeypatch.undo()
        assert on.sign_in(password="wrong").status_code == 401


def test_all_addresses_of_one_subscriber_count_as_one(database_url: str, clock: FakeClock) -> None:
    with console(database_url, clock, trusted_proxies=("127.0.0.1",)) as on:
        assert [wrong(on, f"2001:db8:1:2::{number:x}") for number in range(MOST + 1)] == [401] * MOST + [429]
        assert wrong(on, "2001:db8:1:3::1") == 401


def test_where_somebody_signed_in_before_strangers_elsewhere_do_not_keep_them_out() -> None:
    attempts = Attempts(FakeClock(), THREADS)
    attempts.allow("owner@example.com", "198.51.100.7")
    attempts.succeeded("owner@example.com", "198.51.100.7")
    for number in range(MOST_ANYWHERE + 1):
        attempts.allow("owner@example.com", str(number))
    assert [attempts.allow("owner@example.com", "198.51.100.7") for _ in range(MOST + 1)] == [True] * MOST + [False]
    assert not attempts.allow("owner@example.com", "203.0.113.9")


def test_from_all_addresses_together_there_is_an_end_too() -> None:
    attempts = Attempts(FakeClock(), THREADS)
    allowed = [attempts.allow("owner@example.com", str(number)) for number in range(MOST_ANYWHERE + 1)]
    assert allowed == [True] * MOST_ANYWHERE + [False]


def test_the_memory_of_attempts_is_bounded_and_forgets_the_oldest() -> None:
    clock = FakeClock()
    attempts = Attempts(clock, THREADS)
    for number in range(10_050):
        attempts.allow(f"{number}@example.com", "here")
    assert len(attempts._recent) == 20_000
    clock.advance(MINUTE)
    assert attempts.allow("0@example.com", "here")


# -- every page


@pytest.mark.parametrize("path", ["/sign-in", "/people", "/messages", "/install", "/people/find?user_id=nobody", "/nothing/here", "/"])
def test_every_page_has_a_strict_policy(on: Console, path: str) -> None:
    on.sign_in()
    headers = on.get(path).headers
    policy = headers["Content-Security-Policy"]
    for part in (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ):
        assert part in policy.split("; ")
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("path", ["/sign-in", "/people", "/messages", "/install", "/nothing"])
def test_pages_need_nothing_that_the_policy_forbids(on: Console, path: str) -> None:
    on.sign_in()
    html = on.get(path).text
    parsed = Parsed(html)
    assert "style" not in parsed.tags | parsed.attributes
    assert not any(name.startswith("on") for name in parsed.attributes)
    assert html.count("<script") == html.count("<script src=")


def test_no_template_switches_escaping_off() -> None:
    folder = Path(cookies.__file__).parent
    for file in [*folder.rglob("*.html"), *folder.rglob("*.py")]:
        text = file.read_text("utf-8")
        assert not any(word in text for word in ("|safe", "| safe", "Markup", "autoescape", "render_template_string")), file.name


def test_static_files_may_be_kept(on: Console) -> None:
    html = on.get("/sign-in").text
    href = next(part for part in html.split('"') if "console.css?v=" in part)
    with on.browser.get(href, base_url=on.base_url) as answer:
        assert answer.status_code == 200
        assert "immutable" in answer.headers["Cache-Control"]


# -- accounts


def test_passwords_are_stretched_and_salted() -> None:
    first, second = accounts.hash_password("secret"), accounts.hash_password("secret")
    assert first != second
    assert "secret" not in first
    assert accounts.password_fits(first, "secret")
    assert not accounts.password_fits(first, "Secret")


@pytest.mark.parametrize("stored", ["", "secret", "plain$$secret", "scrypt:a:b:c$salt$00", "scrypt:3:8:1$salt$00", "pbkdf2:1:1:1$salt$00"])
def test_a_damaged_hash_fits_nothing(stored: str) -> None:
    assert not accounts.password_fits(stored, "secret")


@pytest.mark.parametrize(("email", "password"), [("nobody", "x"), ("", "x"), ("a@b", ""), ("a@b", "x" * 1_001), ("a\x00@b", "x")])
def test_accounts_that_cannot_be(on: Console, email: str, password: str) -> None:
    with pytest.raises(ValueError, match=r"email|password"):
        on.services.writer.run(0, lambda tx: accounts.create(tx, on.services.row_ids, email, password, operator=False, now_ms=1))


def test_one_email_has_one_account(on: Console) -> None:
    with pytest.raises(ValueError, match="already"):
        on.account(EMAIL.upper())
