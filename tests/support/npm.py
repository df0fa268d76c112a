"""A customer's project: the npm package installed from a running collector, type-checked, bundled, imported on a server."""

import json
import os
import subprocess
from pathlib import Path

from tests.environment import find_node

TOOLS = Path(__file__).resolve().parents[2] / "static" / "node_modules"
SECONDS = 120


class Project:
    """A folder in which `npm install ADDRESS` was run. Nothing else is asked of the network."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        (folder / "package.json").write_text('{"name": "customer", "private": true, "type": "module"}', "utf-8")
        npm = find_node()[1]
        self._run([*npm, "install", address, "--no-audit", "--no-fund", "--no-update-notifier", "--cache", str(folder / "cache")])

    def node(self, source: str) -> str:
        """Run a module and return what it prints."""
        return self._node(self._write("run.js", source))

    def check(self, source: str, *options: str) -> None:
        """Type-check a program in TypeScript; its complaints are the error."""
        tsc = str(TOOLS / "typescript" / "bin" / "tsc")
        self._node(tsc, "--noEmit", "--strict", "--target", "es2022", *options, self._write("program.ts", source))

    def bundle(self, source: str, form: str) -> str:
        """Return a program as one script for browsers, `esm` or `iife`."""
        self._write("program.ts", source)
        options = {"entryPoints": ["program.ts"], "bundle": True, "minify": True, "format": form, "write": False}
        build = f"import esbuild from {json.dumps((TOOLS / 'esbuild' / 'lib' / 'main.js').as_uri())};"
        return self.node(f"{build} process.stdout.write((await esbuild.build({json.dumps(options)})).outputFiles[0].text);")

    def _write(self, name: str, source: str) -> str:
        (self.folder / name).write_text(source, "utf-8")
        return name

    def _node(self, *arguments: str) -> str:
        return self._run([find_node()[0], *arguments])

    def _run(self, command: list[str]) -> str:
        environ = {**os.environ, "PATH": f"{Path(find_node()[0]).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
        done = subprocess.run(
            command, cwd=self.folder, env=environ, check=False, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout
