"""Writes docs/images from the demo's report: `make screenshots`, after `make demo`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.browser import Page, browser, find_browser  # noqa: E402

IMAGES = ROOT / "docs" / "images"
REPORT = ROOT / "demo-data" / "report.html"


def show(page: Page, section: str) -> None:
    """Bring a section to the top of the window, its first entry open."""
    page.run(f"document.querySelector('#{section} details').open = true")
    page.run(f"document.getElementById('{section}').scrollIntoView()")
    page.frames()


def main() -> None:
    """Take them."""
    executable = find_browser()
    if executable is None:
        sys.exit("no browser: install chromium (apt install chromium) or name one in ADSML_BROWSER")
    if not REPORT.exists():
        sys.exit("there is no demo-data/report.html; run: make demo")
    IMAGES.mkdir(exist_ok=True)
    with browser(executable) as page:
        page.open(REPORT, width=1280, height=900)
        page.picture(IMAGES / "report-today.png")
        for section in ("alarms", "changes"):
            show(page, section)
            page.picture(IMAGES / f"report-{section}.png")
        page.run("document.getElementById('forecasts').scrollIntoView()")
        page.frames()
        page.run(
            "[...document.querySelectorAll('#forecasts .plot input')].slice(0, 1).forEach(one => one.focus())"
        )
        page.picture(IMAGES / "report-forecasts.png")
        page.open(REPORT, width=390, height=844, dark=True)
        page.picture(IMAGES / "report-phone.png")
        if page.logged:
            sys.exit(f"the page wrote to the console: {page.logged}")
    for path in sorted(IMAGES.glob("report-*.png")):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
