"""The page in a real browser: silent, self-sufficient, for everybody. Skipped where there is no browser."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browser import Page, browser, find_browser
from support.report_pages import HOSTILE, page_of

ENTITIES = 1000
AXE = Path(__file__).parents[3] / ".tools" / "axe" / "axe_playwright_python" / "axe.min.js"


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


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page_of(40, old=True), encoding="utf-8")
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


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing(page: Page, small: Path, width: int, *, dark: bool) -> None:
    """With an entry and all of its charts open, and a slider in use."""
    if not AXE.exists():
        pytest.skip("no axe-core: make .tools/axe fetches it")
    page.open(small, width=width, dark=dark)
    page.run("document.querySelectorAll('#forecasts details')[0].open = true")
    page.run("document.querySelector('#behind details').open = true")
    page.frames()
    page.run("document.querySelector('.plot input').focus()")
    page.run(AXE.read_text(encoding="utf-8") + "; 1")
    found = page.run(
        "axe.run().then(found => found.violations.map(one => [one.id, one.nodes.map(n => n.html)]))"
    )
    assert found == []


def test_it_prints_on_few_pages(page: Page, small: Path) -> None:
    """A column of words squeezed to a letter a line once made 218 pages of an account of 64."""
    page.open(small, width=1280)
    printed = base64.b64decode(page.send("Page.printToPDF")["data"])
    assert 1 < len(re.findall(rb"/Type\s*/Page\b", printed)) < 10


def chosen(page: Page, campaign: str) -> None:
    page.run(
        f"""(() => {{
          const select = document.getElementById('campaign');
          select.value = '{campaign}';
          select.dispatchEvent(new Event('change'));
        }})()"""
    )


def test_the_campaign_filter_leaves_that_campaigns_rows_tiles_and_charts(page: Page, big: Path) -> None:
    page.open(big, width=1280)
    shown = "[...document.querySelectorAll('tbody tr')].filter(one => one.offsetParent).length"
    course = "[document.querySelector('#overview dd').firstChild.data, document.querySelector('#overview svg path.l').getAttribute('d')]"
    of_account = page.run(course)
    assert page.run(shown) == ENTITIES
    chosen(page, "c3")
    assert page.run(shown) == ENTITIES // 10
    assert page.run("document.getElementById('shown').textContent") == "203 of 2009 shown"
    of_campaign = page.run(course)
    assert of_campaign[0] == "EUR 3"
    assert of_campaign[1] != of_account[1]
    page.frames()
    assert page.run("document.querySelector('#overview .plot input') !== null"), (
        "its charts can be read out, too"
    )
    chosen(page, "")
    assert page.run(course) == of_account


def test_opening_all_shown_draws_their_charts(page: Page, big: Path) -> None:
    page.open(big, width=1280)
    search = "const search = document.getElementById('search'); search.value = 'owned'"
    page.run(f"(() => {{ {search}; search.dispatchEvent(new Event('input')) }})()")
    page.run("document.getElementById('open').click()")
    drawn = "[...document.querySelectorAll('details svg')].filter(one => one.getBoundingClientRect().width > 100).length"
    assert page.run(drawn) >= 2 * ENTITIES


def test_a_table_sorts_by_the_column_that_is_pressed(page: Page, small: Path) -> None:
    page.open(small, width=1280)
    first = "document.querySelector('#tiers tbody th > a').textContent"
    press = (
        "[...document.querySelectorAll('#tiers thead button')].find(one => one.textContent === 'CPL').click()"
    )
    sorted_ = "document.querySelector('#tiers thead [aria-sort]').ariaSort"
    assert page.run(first) == "Ad set 0"  # EUR 12.00
    page.run(press)
    assert (page.run(first), page.run(sorted_)) == ("Ad set 39", "descending")  # EUR 15.90
    page.run(press)
    assert (page.run(first), page.run(sorted_)) == ("Ad set 0", "ascending")


def test_a_sentence_leads_to_its_picture_and_opens_it(page: Page, small: Path) -> None:
    page.open(small, width=1280)
    page.run("document.querySelector('.findings a').click()")
    page.frames()
    assert page.run("document.getElementById('entry-a8%').open")
    assert page.run(
        "Math.abs(document.getElementById('entry-a8%').getBoundingClientRect().top) < window.innerHeight"
    )


def reading(page: Page) -> Any:
    return page.run("document.querySelector('#overview .plot output').textContent")


def test_a_chart_tells_its_values_under_the_pointer_and_by_keys(page: Page, small: Path) -> None:
    """The series ends on Mon 31 Aug with the forecast's 20 leads (15 to 25), one week after the last actual day."""
    page.open(small, width=1280)
    box = page.run(
        "(() => { const box = document.querySelector('#overview svg').getBoundingClientRect();"
        " return [box.left, box.top, box.width, box.height]; })()"
    )
    for kind, touch in (("mouseMoved", False), ("touchStart", True)):
        place = {"x": box[0] + box[2] - 2, "y": box[1] + box[3] / 2}
        if touch:
            page.send("Input.dispatchTouchEvent", type=kind, touchPoints=[place])
            page.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        else:
            page.send("Input.dispatchMouseEvent", type=kind, **place)
        page.frames()
        assert reading(page) == "Mon 31 Aug: forecast 20; 90% interval 15 to 25"
    page.run("document.querySelector('#overview .plot input').focus()")
    for _ in range(7):
        for kind in ("keyDown", "keyUp"):
            page.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key="ArrowLeft",
                code="ArrowLeft",
                windowsVirtualKeyCode=37,
            )
    told = page.run(
        "document.querySelector('#overview .plot input').ariaValueText || document.querySelector('#overview .plot input').getAttribute('aria-valuetext')"
    )
    assert re.fullmatch(r"Mon 24 Aug: leads \d+(\.\d+)?", told)
    assert reading(page) == told


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
