"""What an import counts as it goes."""

from collections import Counter
from dataclasses import dataclass, field

from adsml_ingest.problems import Problem, Problems


@dataclass(slots=True)
class FileCounts:
    """What became of the rows of one file.

    Attributes
    ----------
    rows
        Rows read, blank lines aside.
    rejected
        Rows that were bad.
    totals, other_accounts
        Rows left out: totals, and those of accounts that were not asked for.
    """

    rows: int = 0
    rejected: int = 0
    totals: int = 0
    other_accounts: int = 0


@dataclass(slots=True)
class Findings:
    """What was found while reading.

    Attributes
    ----------
    problems
        Bad rows and files.
    warnings
        Rows that are loaded and yet look odd.
    accounts
        Ad accounts named by rows, with their number of rows.
    currencies
        Currencies named by rows or headers, each with a file that does.
    """

    problems: Problems = field(default_factory=Problems)
    warnings: Problems = field(default_factory=Problems)
    accounts: Counter[str] = field(default_factory=Counter)
    currencies: dict[str, str] = field(default_factory=dict)

    def warn(self, problem: Problem) -> None:
        """Note something odd."""
        self.warnings.add(problem)
