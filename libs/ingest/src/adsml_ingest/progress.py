"""How far an import has come."""

from typing import Protocol


class Progress(Protocol):
    """Told of every step; see `Silent` for one that does nothing."""

    def reading(self, done: int, total: int) -> None:
        """Bytes read, of how many."""

    def loading(self, done: int, total: int) -> None:
        """Daily rows handed to the database, of how many."""


class Silent:
    """Shows nothing."""

    def reading(self, done: int, total: int) -> None:
        """Nothing."""

    def loading(self, done: int, total: int) -> None:
        """Nothing."""
