"""Errors that users can do something about."""

import errno

_FULL = "make room, then run again: nothing that is finished is lost"
_CLOSED = "allow it to be written to, or choose another folder, then run again"
_FAILING = "look after that disk or its connection, then run again"
_MISPLACED = "move away what lies in its place, then run again"
_REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EROFS: _CLOSED,
    errno.EACCES: "give yourself the right to it, then run again",
    errno.EPERM: "give yourself the right to it, then run again",
    errno.ELOOP: _MISPLACED,
    errno.EISDIR: _MISPLACED,
    errno.ENOTDIR: _MISPLACED,
    errno.EIO: _FAILING,
    errno.ESTALE: _FAILING,
}
"""What to do about errors of the machine, by number."""


class UserError(Exception):
    """Something is wrong that the user can put right.

    The message names the file, key or device and says what to do, so logs show it without a
    traceback.
    """


class PermanentError(UserError):
    """Something is wrong for every job of a plan, so that another attempt would end in the same way."""


def explanation(error: BaseException) -> str | None:
    """What to tell the user about an error, or None if it is a fault of the code.

    Users can put right a `UserError`, what the system says of a disk or a path, and a package that is
    not installed.
    """
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}; {_REMEDIES[error.errno]}"
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("samfleet"):
        return f"the package {error.name} is not installed; install what requirements.txt lists"
    return None
