"""Errors that users can do something about."""


class UserError(Exception):
    """Something is wrong that the user can put right.

    The message names the file, key or device and says what to do, so logs show it without a
    traceback.
    """
