"""The page in a real browser: silent, self-sufficient, and its filter works. Skipped where there is no browser."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.browser import Page, browser, find_browser
from support.report_pages import HOSTILE, page_of

ENTITIES = 1000


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    found = find_browser()
    if found is None:
        pytest.skip("no browser: install chromium (apt install chromium) or name one in ADSML_BROWSER")
    with browser(found) as opened:
        yield opened


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page_of(ENTITIES, name=HOSTILE), encoding="utf-8")
    return path


@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True)])
def test_no_word_in_the_console_and_no_request(page: Page, big: Path, width: int, *, dark: bool) -> None:
    page.logged.clear()
    page.fetched.clear()
    page.open(big, width=width, dark=dark)
    assert page.logged == []
    assert [one for one in page.fetched if not one.startswith(("file:", "data:"))] == []
    assert len([one for one in page.fetched if one.startswith("file:")]) == 1
    assert page.run("document.documentElement.scrollWidth <= window.innerWidth"), "scrolls sideways"


def test_it_prints_on_few_pages(page: Page, tmp_path: Path) -> None:
    """A column of words squeezed to a letter a line once made 218 pages of an account of 64."""
    path = tmp_path / "report.html"
    path.write_text(page_of(40), encoding="utf-8")
    page.open(path, width=1280)
    printed = base64.b64decode(page.send("Page.printToPDF")["data"])
    assert 1 < len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12


def test_the_campaign_filter_leaves_that_campaigns_entities(page: Page, big: Path) -> None:
    page.open(big, width=1280)
    shown = "[...document.querySelectorAll('tbody tr')].filter(one => one.offsetParent).length"
    assert page.run(shown) == ENTITIES
    chosen = "campaign.value = 'c3'; campaign.dispatchEvent(new Event('change'))"
    page.run(f"(() => {{ const campaign = document.getElementById('campaign'); {chosen} }})()")
    assert page.run(shown) == ENTITIES // 10
    assert page.run("document.getElementById('shown').textContent") == "200 of 2000 shown"


def test_opening_all_shown_draws_their_charts(page: Page, big: Path) -> None:
    page.open(big, width=1280)
    search = "const search = document.getElementById('search'); search.value = 'owned'"
    page.run(f"(() => {{ {search}; search.dispatchEvent(new Event('input')) }})()")
    page.run("document.getElementById('open').click()")
    drawn = "[...document.querySelectorAll('details svg')].filter(one => one.getBoundingClientRect().width > 100).length"
    assert page.run(drawn) == 2 * ENTITIES


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_background(page: Page, big: Path, *, dark: bool) -> None:
    """WCAG 2.2, contrast (minimum): 4.5 to 1 for every colour that text is written in."""
    page.open(big, width=1280, dark=dark)
    ratios = page.run(
        """(() => {
          const light = (text) => {
            const [r, g, b] = text.match(/[0-9]+/g).map((one) => {
              const part = one / 255;
              return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const css = getComputedStyle(document.documentElement);
          const probe = document.body.appendChild(document.createElement("p"));
          const of = (name) => {
            probe.setAttribute("class", name);
            return light(getComputedStyle(probe).color);
          };
          const papers = [document.body, document.querySelector(".tiles div")]
            .map((one) => light(getComputedStyle(one).backgroundColor));
          return ["", "note", "good", "fair", "poor", "bad"].flatMap((name) => papers.map((paper) => {
            const ink = of(name);
            return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
          }));
        })()"""
    )
    assert len(ratios) == 12
    assert min(ratios) >= 4.5
