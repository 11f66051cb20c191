"""How long a report about 1,000 entities takes to open in a real browser: `make bench-report`.

The page has a table row and two charts for each entity, which is what `adsml report` writes for an account of
that size with `--most 1000`. Timed from navigation until the page is laid out and painted.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

from adsml_common.cli.output import table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.browser import browser, find_browser  # noqa: E402
from support.report_pages import page_of  # noqa: E402

ENTITIES = 1000
RUNS = 5
BAR_SECONDS = 2.0


def main() -> None:
    """Measure, show, write."""
    executable = find_browser()
    if executable is None:
        sys.exit("no browser: install chromium (apt install chromium) or name one in ADSML_BROWSER")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        path.write_text(page_of(ENTITIES), encoding="utf-8")
        with browser(executable) as page:
            widths = {
                width: statistics.median(page.open(path, width=width) for _ in range(RUNS))
                for width in (390, 1280)
            }
        size = path.stat().st_size / 1e6
    found = {
        "entities": ENTITIES,
        "megabytes": round(size, 2),
        **{f"seconds_to_open_{width}": round(seconds, 3) for width, seconds in widths.items()},
        "bar_seconds": BAR_SECONDS,
    }
    (ROOT / "benchmarks" / "results" / "report.json").write_text(json.dumps(found, indent=2) + "\n")
    table(
        f"A report about {ENTITIES:,} entities, {size:.1f} MB",
        ("width", "seconds to open (median)", "bar"),
        [(f"{width} px", f"{seconds:.2f}", f"{BAR_SECONDS:.0f}") for width, seconds in widths.items()],
        right=("width", "seconds to open (median)", "bar"),
    )


if __name__ == "__main__":
    main()
