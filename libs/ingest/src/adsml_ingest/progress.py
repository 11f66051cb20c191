"""How far an import has come."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Told of every step: ``reading`` (bytes) or ``loading`` (daily rows), how many are done, of how many."""
