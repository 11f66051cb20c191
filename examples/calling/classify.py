"""Ask a classifier from Python: ``python classify.py localhost:50051``.

No data need be stored: the days are sent along. With a stored account, name entities instead:
``subject=entity_ref(1, "adset", "120210000000001")``.
"""

import datetime as dt
import sys

from adsml_client import CallError, ClassifierClient, connect, inline_series, word


def days(*, spend: float, leads: float) -> list[dict[str, object]]:
    """Four weeks, each day alike; from a data frame: `adsml_client.rows_from_frame`."""
    last = dt.date(2026, 3, 31)
    return [
        {
            "date": last - dt.timedelta(days=back),
            "spend": spend,
            "impressions": 1_000,
            "clicks": 20,
            "leads": leads,
        }
        for back in range(28)
    ]


def main(target: str) -> int:
    """Ask, and print the answer."""
    mine = inline_series(
        days(spend=50, leads=10),
        entity_type="adset",
        entity_id="mine",
        account_rows=days(spend=1_500, leads=100),
    )
    # On another machine than this one: connect(target, tls=Tls(ca_file=...), token=...).
    with connect(target) as connection:
        try:
            answer = ClassifierClient(connection).classify(subject=mine, timeout=20).classification
        except CallError as error:
            print(f"not classified: {error}", file=sys.stderr)
            return 1
    print(f"mine: {word(answer, 'tier')}, CPL {answer.metrics.cpl:.2f}")
    print(f"answered by {answer.answered_by.model.name or answer.answered_by.method}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
