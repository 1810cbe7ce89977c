"""Masks that were found, from compact form to records. Works without torch, for worker processes."""
