"""Prompts where the objects are: maps of foreground and distances from a decoder, and points from these."""
