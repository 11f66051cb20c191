"""The page is well formed, escapes what came in with the data, and asks for nothing."""

import re
from html.parser import HTMLParser

import pytest
from support.report_pages import HOSTILE, page_of

VOID = {"meta", "link", "input", "br"}


class Outline(HTMLParser):
    """Elements as a browser's parser meets them; fails where they are not nested."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def outline() -> Outline:
    return Outline(page_of(3, name=HOSTILE))


def test_elements_are_nested_and_ids_are_unique(outline: Outline) -> None:
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))


def test_a_name_that_is_markup_stays_a_name(outline: Outline) -> None:
    page = page_of(3, name=HOSTILE)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(&#39;owned&#39;)&lt;/script&gt;" in page
    assert outline.tags.count("script") == 1, "the page's own"
    assert not [one for one in outline.attributes if one[1].startswith("on")]


def test_nothing_is_asked_of_a_network(outline: Outline) -> None:
    urls = [value for _, name, value in outline.attributes if name in ("src", "href", "action", "srcset")]
    assert urls
    assert all(value is not None and (value.startswith("#") or value == "data:,") for value in urls)
    policy = next(
        value for tag, _, value in outline.attributes if tag == "meta" and "default-src" in str(value)
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_what_can_be_seen_can_be_read_out(outline: Outline) -> None:
    labels = [value for tag, name, value in outline.attributes if tag == "svg" and name == "aria-label"]
    assert len(labels) == outline.tags.count("svg")
    assert all(labels)
    assert outline.tags.count("caption") == outline.tags.count("table")
    assert outline.tags.count("h1") == 1
    scopes = [value for tag, name, value in outline.attributes if tag == "th" and name == "scope"]
    assert len(scopes) == outline.tags.count("th")


def test_every_link_of_the_contents_leads_somewhere(outline: Outline) -> None:
    links = [value for tag, name, value in outline.attributes if (tag, name) == ("a", "href")]
    assert {str(one).removeprefix("#") for one in links} <= set(outline.ids)


def test_every_row_and_entry_names_its_campaign(outline: Outline) -> None:
    named = [
        value
        for tag, name, value in outline.attributes
        if name == "data-c" and tag in ("tr", "details", "li")
    ]
    assert sorted(named) == ["c0", "c0", "c0", "c1", "c1", "c1", "c2", "c2", "c2"]


def test_the_first_screen_has_seven_sentences_with_most_money_first() -> None:
    """Of nine that bring 0 to 80 a week."""
    page = page_of(9)
    first = page[page.index('<ol class="findings">') : page.index("</ol>")]
    assert re.findall(r">(Raise Ad set \d):</a>", first) == [
        f"Raise Ad set {at}" for at in (8, 7, 6, 5, 4, 3, 2)
    ]
    assert page.index('id="today"') < page.index('id="overview"') < page.index('id="tiers"')


def test_old_data_are_not_called_todays() -> None:
    page = page_of(2, old=True)
    assert ">As of Mon 31 Aug 2026<" in page
    assert ">Today<" not in page
    assert re.search(r'<p class="stale">.*90 days ago', page)


def test_no_colour_is_set_but_by_the_style_sheet() -> None:
    body = page_of(2).split("<body>")[1].split("<script>")[0]
    assert not re.search(r"(fill|stroke|style|color)=\"", body)
