"""The npm package, installed from a collector as a customer does it, and the same module without any bundler."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.browser.gateway import Gateway
from tests.browser.recipes import snippet
from tests.browser.stored import Stored
from tests.browser.tabs import fence, lead, status, visit
from tests.support.npm import Project
from tests.support.pages import Page as Served
from tests.support.pages import Pages
from tests.support.servers import Collector

TYPED = """
import { load, track, page, identify, reset, optIn, optOut, showMessage, onMessage, status } from "leadlight";

load({ site: "KEY", host: "https://collect.example.com", consent: "required", cookie_domain: "example.com" });
track("paid", { price: { amount: 4900, currency: "EUR" }, at: new Date(), big: 1n });
identify("user-17", { user_hash: "abc", plan: "team" });
identify({ user_id: 17 });
identify(null, { plan: "team" });
page(); reset(); optIn("2026-03"); optOut(); showMessage("id");
onMessage(({ id, action }) => { const text: string = id + action; void text; });
const lead: string | undefined = status()?.lead;
window.leadlight("track", "paid", { rows: 3 });
const held: string = window.leadlight("status").held;
void [lead, held];

// @ts-expect-error a site is needed
load({ host: "https://collect.example.com" });
// @ts-expect-error one of three words
load({ site: "KEY", host: "/ll", consent: "maybe" });
// @ts-expect-error a name is text
track(17);
// @ts-expect-error nothing is known before the tracker has come
status().lead;
// @ts-expect-error no such call
window.leadlight("trakc", "paid");
// @ts-expect-error a name is text there too
window.leadlight("track", 17);
"""


@pytest.fixture(scope="module")
def project(shared_collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A customer's project, made once."""
    return Project(tmp_path_factory.mktemp("project"), f"{shared_collector.url}/leadlight.tgz")


@pytest.fixture
def source(collector: Collector) -> Callable[..., str]:
    """Makes programs that load the tracker, with `before` and `after` that call; `options` are more of load()'s."""

    def make(before: str = "", after: str = "", options: str = "", host: str = collector.url_as("collect.other")) -> str:
        load = f"load({{ site: '{collector.site_key}', host: '{host}', automation: 'count', {options} }});"
        return f"import * as leadlight from 'leadlight';\nconst {{ load, track, identify }} = leadlight;\n{before}\n{load}\n{after}\n"

    return make


@pytest.fixture
def bundled(project: Project, pages: Pages) -> Callable[..., str]:
    """Bundles a program into a page and returns its address."""

    def make(source: str, path: str = "/", form: str = "esm", head: str = "", nonce: str = "", **options: object) -> str:
        kind = 'type="module"' if form == "esm" else "defer"
        pages.by_path["/bundle.js"] = Served(project.bundle(source, form), content_type="text/javascript")
        return pages.add(path, head=f'{head}<script {kind} {nonce} src="/bundle.js"></script>', **options)

    return make


@pytest.mark.parametrize("resolution", ["bundler", "nodenext"])
def test_a_program_in_typescript_is_checked_against_the_interface(project: Project, resolution: str) -> None:
    module = "esnext" if resolution == "bundler" else "nodenext"
    project.check(TYPED, "--module", module, "--moduleResolution", resolution)


def test_on_a_server_every_call_does_nothing_and_keeps_nothing(project: Project) -> None:
    printed = project.node("""
        import * as leadlight from "leadlight";
        leadlight.load({ site: "KEY", host: "https://collect.example.com" });
        const { load, ...calls } = leadlight;
        const answers = Object.values(calls).map((call) => call("text"));
        console.log(answers.length, answers.every((answer) => answer === undefined), typeof globalThis.leadlight, typeof globalThis.window);
    """)
    assert printed.split() == ["9", "true", "undefined", "undefined"]


def test_calls_made_before_the_tracker_arrived_are_kept_in_order(
    page: Page, bundled: Callable[..., str], source: Callable[..., str], stored: Stored
) -> None:
    program = source("track('first'); identify('bundled-user'); track('second');", "track('third', { n: 3 });")
    visit(page, bundled(program, "/bundled"))
    fence(page)
    assert [event.name for event in stored.events(user="bundled-user")] == ["page-view", "second", "third", "fence"]
    assert [event.name for event in stored.events(lead=lead(page))] == ["first"]


def test_calls_made_after_it_reach_the_tracker_at_once(page: Page, bundled: Callable[..., str], source: Callable[..., str]) -> None:
    visit(page, bundled(source(before="window.early = leadlight.status();", after="window.calls = leadlight;")))
    page.evaluate("calls.identify('called-later')")
    assert page.evaluate("[typeof early, calls.status().user]") == ["undefined", "called-later"]


@pytest.mark.parametrize("form", ["esm", "iife"])
def test_a_strict_policy_with_trusted_types_is_kept(
    page: Page, bundled: Callable[..., str], source: Callable[..., str], collector: Collector, stored: Stored, form: str
) -> None:
    policy = (
        f"default-src 'none'; script-src 'nonce-n0nce'; connect-src {collector.url_as('collect.other')}; style-src 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    watch = (
        '<link rel="icon" href="data:,"><script nonce=n0nce>window.broken = []; addEventListener("securitypolicyviolation", '
        "({violatedDirective}) => broken.push(violatedDirective))</script>"
    )
    program = source(after="track('strict');")
    visit(page, bundled(program, "/strict", form, watch, "nonce=n0nce", headers={"Content-Security-Policy": policy}))
    fence(page)
    assert [event.name for event in stored.events(lead=lead(page))] == ["page-view", "strict", "fence"]
    assert [one for one in page.evaluate("broken") if one != "img-src"] == []


def test_loaded_twice_it_counts_once(page: Page, bundled: Callable[..., str], source: Callable[..., str], stored: Stored) -> None:
    visit(page, bundled(source(after="load({ site: 'another', host: 'https://nowhere.example' }); track('once');")))
    fence(page)
    assert [event.name for event in stored.events(lead=lead(page))] == ["page-view", "once", "fence"]


def test_options_are_those_of_the_tag(page: Page, bundled: Callable[..., str], source: Callable[..., str]) -> None:
    visit(page, bundled(source(options="consent: 'required'")))
    assert status(page)["held"] == "consent_required"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("", "leadlight: load() needs site and host"),
        ("null", "leadlight: load() needs site and host"),
        ("{ host: '/ll' }", "leadlight: load() needs site and host"),
        ("{ site: 'KEY', host: 'no host' }", "leadlight: no tracker from no host TypeError"),
        ("{ site: 'KEY', host: 'http://collect.other:1' }", "leadlight: no tracker from http://collect.other:1 TypeError"),
    ],
)
def test_what_cannot_be_loaded_is_said_and_the_page_goes_on(page: Page, bundled: Callable[..., str], settings: str, said: str) -> None:
    program = (
        f"import * as leadlight from 'leadlight'; (leadlight as any).load({settings}); leadlight.track('unheard'); window.done = true;"
    )
    with page.expect_console_message(lambda message: message.text.startswith(said)):
        page.goto(bundled(program))
    assert page.evaluate("[done, leadlight.q.length]") == [True, 1]


def test_the_address_may_be_a_path_of_the_site_or_a_name_alone(page: Page, bundled: Callable[..., str], pages: Pages) -> None:
    asked = []
    page.route("**/tracker.js", lambda route: (asked.append(route.request.url), route.abort()))
    for host in ("/ll", "/ll/", "collect.other", "collect.other/ll"):
        with page.expect_event("requestfailed"):
            page.goto(bundled(f"import {{ load }} from 'leadlight'; load({{ site: 'KEY', host: '{host}' }})"))
    own = f"{pages.origin}/ll/tracker.js"
    assert asked == [own, own, "https://collect.other/tracker.js", "https://collect.other/ll/tracker.js"]


def test_the_snippet_of_the_documentation(page: Page, bundled: Callable[..., str], collector: Collector, stored: Stored) -> None:
    visit(page, bundled(snippet("install.md", "npm", collector, language="js"), "/documented"))
    fence(page)
    assert [event.name for event in stored.events(lead=lead(page))] == ["page-view", "opened-the-brochure", "fence"]


def test_a_page_without_a_bundler_imports_it_from_the_collector(
    page: Page, pages: Pages, source: Callable[..., str], gateway: Gateway, stored: Stored
) -> None:
    program = source(after="track('imported');", host=gateway.address).replace("'leadlight'", f"'{gateway.address}/leadlight.js'")
    visit(page, pages.add("/imported", head=f'<script type="module">{program}</script>'))
    fence(page)
    assert [event.name for event in stored.events(lead=lead(page))] == ["page-view", "imported", "fence"]
    assert {sent.path for sent in gateway.log} == {"/leadlight.js", "/tracker.js", "/collect"}
