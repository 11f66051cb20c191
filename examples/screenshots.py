"""Writes docs/images from the demo's report: `make screenshots`, after `make demo`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.browser import Page, browser, find_browser  # noqa: E402

IMAGES = ROOT / "docs" / "images"
REPORT = ROOT / "demo-data" / "report.html"
OPEN_SOME = """(() => {
  for (const id of ["forecasts", "alarms", "changes"]) {
    const first = document.querySelector(`#${id} details`);
    if (first) first.open = true;
  }
})()"""


def show(page: Page, section: str) -> None:
    """Bring a section to the top of the window."""
    page.run(OPEN_SOME)
    page.run(f"document.getElementById('{section}').scrollIntoView()")
    page.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")


def main() -> None:
    """Take them."""
    executable = find_browser()
    if executable is None:
        sys.exit("no browser: install chromium (apt install chromium) or name one in ADSML_BROWSER")
    if not REPORT.exists():
        sys.exit("there is no demo-data/report.html; run: make demo")
    IMAGES.mkdir(exist_ok=True)
    with browser(executable) as page:
        page.open(REPORT, width=1100, height=1000)
        page.picture(IMAGES / "report-wide.png")
        for section in ("forecasts", "alarms", "changes"):
            show(page, section)
            page.picture(IMAGES / f"report-{section}.png")
        page.open(REPORT, width=390, height=844, dark=True)
        show(page, "forecasts")
        page.run("document.querySelector('#forecasts details').scrollIntoView()")
        page.picture(IMAGES / "report-phone.png")
        if page.logged:
            sys.exit(f"the page wrote to the console: {page.logged}")
    for path in sorted(IMAGES.glob("report-*.png")):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
