"""Deliberate breaks by which events are acknowledged before they are committed, by whoever writes them."""

COMMITS = "collector/storage/commits.py"
WRITER = "collector/storage/writer.py"
WRITING = "collector/writing.py"

Edits = tuple[tuple[str, str, str], ...]
"""What is changed: file, text, other text."""

SLOWLY = "                    __import__('time').sleep(0.05)\n"
"""What makes the commit that follows the answer slow."""


def early(then: str) -> Edits:
    """An edit by which whoever may is let answer before the commit (`apart`, `where_served`), and does something in between."""
    last = "                done = [_behind_savepoint(tx, work) for work in works]\n"
    may = "                if payloads and hasattr(bulk, 'answer_early'):\n"
    return ((COMMITS, last, f"{last}{may}                    bulk.answer_early(written)\n{then}"),)


def early_apart(then: str = "") -> Edits:
    """Edits by which a writer's process answers before it commits."""
    answered = "            voice.answer(pen.write(data))\n"
    return (
        *early(then),
        (
            WRITING,
            answered,
            "            sent = []\n"
            "            Ledger.answer_early = lambda _, found: sent or (sent.append(1), voice.answer(Answer(found)))\n"
            "            answer = pen.write(data)\n"
            "            if not sent:\n                voice.answer(answer)\n",
        ),
    )


def early_where_served(then: str = "") -> Edits:
    """Edits by which a process that serves and writes answers before it commits."""
    begun = "        works = [unit.work for unit in group if unit.work is not None]\n        written, done"
    return (
        *early(then),
        (
            WRITER,
            begun,
            "        bulks = [unit for unit in group if unit.work is None]\n"
            "        _here.early = lambda found: self._answer(bulks, [(one, None) for one in found])\n"
            "        type(self._bulk).answer_early = lambda _, found: _here.early(found)\n"
            f"{begun}",
        ),
        (WRITER, "_GATHER_SECONDS = 0.002\n", "_GATHER_SECONDS = 0.002\n_here = threading.local()\n"),
    )
