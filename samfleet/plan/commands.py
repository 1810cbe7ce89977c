"""The commands that made a folder of results, for its account. Standard library only, for the Snakefile."""

import contextlib
import datetime
import shlex
from collections.abc import Sequence
from pathlib import Path

from samfleet.files import TableError, escape_name, read_rows, unescape_name, write_rows
from samfleet.results import COMMAND_COLUMNS, commands_file
from samfleet.versions import samfleet_version

_KEPT = 1000


def note_command(results: Path, arguments: Sequence[str]) -> None:
    """Note a command line that is about to change a folder of results; a full disk is no reason to end it."""
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    row = {"when": when, "command": shlex.join(arguments), "samfleet": samfleet_version()}
    rows = [*noted_commands(results), row][-_KEPT:]
    with contextlib.suppress(OSError):
        write_rows(
            commands_file(results),
            COMMAND_COLUMNS,
            (tuple(escape_name(each[name]) for name in COMMAND_COLUMNS) for each in rows),
        )


def noted_commands(results: Path) -> list[dict[str, str]]:
    """The commands that were noted, the oldest first; those before a damaged line if there is one."""
    rows = []
    with contextlib.suppress(TableError, OSError):
        for cells in read_rows(commands_file(results), COMMAND_COLUMNS):
            rows.append(dict(zip(COMMAND_COLUMNS, map(unescape_name, cells), strict=True)))
    return rows
