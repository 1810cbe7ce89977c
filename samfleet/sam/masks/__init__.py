"""Masks that were found, from a few kilobytes each to records; without torch, for workers."""
