"""How complete young days are: rows keep growing for a while after their day, leads longest."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CompletionCurve:
    """Shares (0 to 1) that are in by age of the day, age 0 first; older days are complete.

    Of spend, impressions and clicks (`delivery`), and of leads, each with the standard deviation of its logarithm
    from day to day.
    """

    delivery: tuple[float, ...]
    leads: tuple[float, ...]
    delivery_spread: tuple[float, ...]
    leads_spread: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.leads)

    def youngest(self, days: int) -> "CompletionCurve":
        return CompletionCurve(
            self.delivery[:days], self.leads[:days], self.delivery_spread[:days], self.leads_spread[:days]
        )
