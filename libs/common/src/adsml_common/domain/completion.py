"""How complete young days are: rows keep growing for a while after their day, leads longest."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CompletionCurve:
    """Shares that are in by age of the day, age 0 first; older days are complete.

    Attributes
    ----------
    delivery, leads
        Between 0 and 1: of spend, impressions and clicks; of leads.
    delivery_spread, leads_spread
        Standard deviations of their logarithms from day to day.
    """

    delivery: tuple[float, ...]
    leads: tuple[float, ...]
    delivery_spread: tuple[float, ...]
    leads_spread: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.leads)

    def youngest(self, days: int) -> "CompletionCurve":
        """The ages below `days` alone."""
        return CompletionCurve(
            self.delivery[:days], self.leads[:days], self.delivery_spread[:days], self.leads_spread[:days]
        )
