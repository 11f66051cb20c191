"""Ask a classifier from Python: ``python classify.py localhost:50051``.

No data need be stored: the days are sent along. With a stored account, name entities instead:
``EntityRef(1, "adset", "120210000000001")``.
"""

import datetime as dt
import sys

from adsml_client import CallError, DailyRow, Series, connect
from adsml_client.classifier import ClassifierClient


def days(*, spend: float, leads: float) -> list[DailyRow]:
    """Four weeks, each day alike."""
    last = dt.date(2026, 3, 31)
    return [
        DailyRow(last - dt.timedelta(days=back), spend=spend, impressions=1_000, clicks=20, leads=leads)
        for back in range(28)
    ]


def main(target: str) -> int:
    """Ask, tell."""
    mine = Series(
        days(spend=50, leads=10),
        entity_type="adset",
        entity_id="mine",
        account_rows=days(spend=1_500, leads=100),
    )
    # On another machine than this one: connect(target, tls=Tls(ca_file=...), token=...).
    with connect(target) as connection:
        try:
            batch = ClassifierClient(connection).classify_entities([mine], timeout=20)
        except CallError as error:
            print(f"not answered: {error}", file=sys.stderr)
            return 1
    for one in batch.results:
        if isinstance(one, CallError):
            print(f"not classified: {one}", file=sys.stderr)
            return 1
        print(f"{one.entity and one.entity.entity_id}: {one.tier}, CPL {one.metrics['cpl']:.2f}")
        print(f"answered by {one.answered_by.model or one.answered_by.method}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
