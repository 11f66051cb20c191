"""What an import counts as it goes."""

from collections import Counter
from dataclasses import dataclass, field

from adsml_ingest.batch import Table
from adsml_ingest.breakdowns import SEPARATOR, CutLeads
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
    totals, other_accounts, other_days
        Rows left out: totals, and those of accounts and days that were not asked for.
    """

    rows: int = 0
    rejected: int = 0
    totals: int = 0
    other_accounts: int = 0
    other_days: int = 0


@dataclass(frozen=True, slots=True)
class Cut:
    """A way in which rows part an entity's day.

    Attributes
    ----------
    columns
        By which columns, as the file calls them.
    leads
        What its rows say of leads.
    """

    columns: tuple[str, ...]
    leads: CutLeads

    @property
    def shown(self) -> str:
        """For messages."""
        return ", ".join(self.columns) or "nothing"


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
    account_names, currencies, time_zones
        As rows or headers say, each with a file that does.
    id_kinds
        ``id`` and ``name``, each with a file whose entities are named so.
    cuts
        Ways in which rows part a day, by their number; the first is: not at all.
    """

    problems: Problems = field(default_factory=Problems)
    warnings: Problems = field(default_factory=Problems)
    accounts: Counter[str] = field(default_factory=Counter)
    account_names: dict[str, str] = field(default_factory=dict)
    currencies: dict[str, str] = field(default_factory=dict)
    time_zones: dict[str, str] = field(default_factory=dict)
    id_kinds: dict[str, str] = field(default_factory=dict)
    cuts: list[Cut] = field(default_factory=lambda: [Cut((), CutLeads.TOLD)])
    _cut_numbers: dict[str, int] = field(default_factory=lambda: {"": 0})

    def warn(self, problem: Problem) -> None:
        """Note something odd."""
        self.warnings.add(problem)

    def cut_number(self, table: Table, cut: str) -> int:
        """Number of a way to part a day, given out at first sight."""
        number = self._cut_numbers.get(cut)
        if number is None:
            number = self._cut_numbers[cut] = len(self.cuts)
            columns = tuple(table.labels.get(name, name) for name in cut.split(SEPARATOR))
            self.cuts.append(Cut(columns, table.leads_of_cut(cut)))
        return number
