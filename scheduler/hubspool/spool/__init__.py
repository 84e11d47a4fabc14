"""Rows on this disk: segments, their names and their owners' locks."""
