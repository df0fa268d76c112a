"""Breaks of what commands do on disks and at kills, and of what many collectors do at once: which single tests have to notice which."""

from tests.broken_promises import Break, saying

IDENTITIES = "collector/domain/identities.py"
REWRITING = "collector/storage/rewriting.py"
COPYING = "collector/storage/copying.py"
CLI = "collector/cli.py"

ENGINES = ("sqlite", "postgresql")
FLEETS = ("one collector", "three collectors")

OPERATIONS = (
    Break(
        "a restore takes the old away before the new is whole",
        (
            (
                "collector/operating.py",
                "    with draft(target, overwrite=True) as working:\n        copying.load_file",
                "    with draft(target, overwrite=True) as working:\n"
                "        target.unlink(missing_ok=True)\n        unread = True\n        copying.load_file",
            ),
            (COPYING, "{KEPT} ON COMMIT DROP AS", "{KEPT} AS"),
            (
                COPYING,
                "        _make_slices(file, tx)\n        for table in tables(file):\n            statement",
                '        raw.execute("COMMIT")\n        raw.execute("BEGIN")\n'
                "        _make_slices(file, tx)\n        for table in tables(file):\n            statement",
            ),
        ),
        {
            "backup::killed_restore[sqlite]": "there is no database",
            "backup::killed_restore[postgresql]": r'\["events"\] in',
        },
    ),
    Break(
        "whoever changes people does not lock them",
        (
            (IDENTITIES, '"ORDER BY id FOR NO KEY UPDATE"\n)\n_LOCK_BY_ID', '"ORDER BY id"\n)\n_LOCK_BY_ID'),
            (IDENTITIES, '"ORDER BY id FOR NO KEY UPDATE"\n)\n\n\nclass', '"ORDER BY id"\n)\n\n\nclass'),
            (IDENTITIES, 'suffix = connection.lock_suffix() if lock else ""', 'suffix = ""'),
        ),
        saying(r"shared\.wrong == \[\]", *(f"many_collectors::sixteen_clients[{fleet}-postgresql]" for fleet in FLEETS)),
    ),
    Break(
        "whoever was parted from a user is merged again by a browser",
        (("collector/domain/merging.py", "undone_by = ?, blocked = 1 WHERE", "undone_by = ?, blocked = 0 WHERE"),),
        saying(
            "merged by browsers twice",
            *(f"many_collectors::sixteen_clients[{fleet}-{engine}]" for engine in ENGINES for fleet in FLEETS),
        ),
    ),
    Break(
        "a command says more than one line of a full disk",
        (
            (CLI, "    except (SettingsError, ValueError, LookupError, OSError) as error:\n", "    except ZeroDivisionError as error:\n"),
            (CLI, "        if is_unavailable(error):\n", "        if False:\n"),
        ),
        {
            "init::disk_is_full[init-sqlite]": '"Traceback" not in',
            "init::disk_is_full[prune-sqlite]": r'"database or disk is full" in .*\[-1\]',  # its last line is of what came of that
        },
    ),
    Break(
        "the file is written anew wherever it lies",
        ((REWRITING, "    if short:\n", "    if False:\n"),),
        saying('"MB on the disk of"', "room::too_little"),
    ),
    Break(
        "of the disk for temporary files nobody asks",
        ((REWRITING, "for folder in (file.parent, temporary):", "for folder in (file.parent,):"),),
        {"room::temporary_files": "MB on the disk of", "room::both_on_one_disk": r"told\(\) in"},
    ),
    Break(
        "what was written in vain stays in the log",
        (
            (
                REWRITING,
                "    finally:  # also of what was written in vain\n        cut = database.cut_log()\n",
                "    except ZeroDivisionError:\n        pass\n    cut = database.cut_log()\n",
            ),
        ),
        saying(r"st_size < 10\*\*6", "room::turns_out_to_be_full"),
    ),
)
