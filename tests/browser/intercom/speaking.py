"""Pages made for Intercom, and packages from npm bundled as their customers bundle them."""

import functools
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.environment import find_node
from tests.support.pages import Page as Served

STATIC = Path(__file__).resolve().parents[3] / "static"

COUNTED = "<script>window.leadlightSettings = {automation: 'count'}</script>"
"""The tests' own browser is to be counted. Before any script of ours."""

STUB = "<script>{ const stub = function () { stub.q.push(arguments) }; stub.q = []; window.Intercom = stub }</script>"
"""The least that takes calls before the library is there."""

_BUNDLE = """
    import { readFileSync } from "node:fs";
    import { build } from "esbuild";
    const done = await build({
        stdin: { contents: readFileSync(0, "utf8"), resolveDir: process.cwd() },
        bundle: true, format: "iife", write: false, define: { "process.env.NODE_ENV": '"production"' },
    });
    process.stdout.write(done.outputFiles[0].text);
"""


@functools.cache
def bundle(source: str) -> Served:
    """Return a script for a page: a module that imports packages of static/node_modules, with all it needs."""
    node, _ = find_node()
    command = [node, "--input-type=module", "--eval", _BUNDLE]
    done = subprocess.run(command, input=source.encode(), cwd=STATIC, env=os.environ, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return Served(done.stdout.decode(), content_type="text/javascript; charset=utf-8")


def snippet(address: str, settings: Mapping[str, Any]) -> str:
    """Return what Intercom's customers paste, with its one address changed: settings, a stub, and a loader that waits for the page."""
    return f"""<script>window.intercomSettings = {json.dumps(settings)}</script>
    <script>
    (function () {{
        var w = window, d = document, running = w.Intercom;
        if (typeof running === "function") {{
            running("reattach_activator");
            running("update", w.intercomSettings);
            return;
        }}
        var stub = function () {{ stub.c(arguments) }};
        stub.q = [];
        stub.c = function (given) {{ stub.q.push(given) }};
        w.Intercom = stub;
        var load = function () {{
            var script = d.createElement("script"), first = d.getElementsByTagName("script")[0];
            script.type = "text/javascript";
            script.async = true;
            script.src = {json.dumps(address)};
            first.parentNode.insertBefore(script, first);
        }};
        if (d.readyState === "complete") load();
        else if (w.attachEvent) w.attachEvent("onload", load);
        else w.addEventListener("load", load, false);
    }})();
    </script>"""


def say(page: Page, method: str, *arguments: Any) -> Any:
    """Call `Intercom(method, ...)` and return what it answers."""
    return page.evaluate("([method, ...given]) => Intercom(method, ...given)", [method, *arguments])


def delivered(page: Page) -> None:
    """Return when nothing waits for the collector any more; also where nothing new is tracked, so that a fence would never arrive."""
    page.wait_for_function("!leadlight('status').queued")
