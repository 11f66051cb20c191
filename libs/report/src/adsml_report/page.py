"""Puts sections together as one HTML page that needs nothing from anywhere.

Colours, layout and the few lines of script are inside; a content security policy with their hashes forbids
everything else, so that nothing is fetched and nothing that came in with the data could run.
"""

from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from importlib.resources import files
from typing import Final

from adsml_report.content import (
    Block,
    Cell,
    Chart,
    Chip,
    Entry,
    Figures,
    Listing,
    Note,
    Reliability,
    Section,
    Table,
)
from adsml_report.context import ReportContext
from adsml_report.markup import Html, joined, tag
from adsml_report.svg import draw, draw_reliability, legend
from adsml_report.wording import day

_SYMBOL: Final = {"good": "\N{BLACK UP-POINTING TRIANGLE}", "fair": "\N{BLACK DIAMOND}",
                  "poor": "\N{WHITE DIAMOND}", "bad": "\N{BLACK DOWN-POINTING TRIANGLE}"}  # fmt: skip


def render(context: ReportContext, sections: Sequence[Section], *, made: datetime, version: str) -> str:
    """The page.

    Parameters
    ----------
    sections
        In the order of the page.
    made
        When, as the page says.
    version
        Of adsml.
    """
    style, script = _resource("style.css"), _resource("script.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    title = f"Ad account {context.config_id}"
    links = [tag("a", section.title, href=f"#{section.key}") for section in sections]
    body = tag(
        "body",
        tag("a", "Skip to the report", class_="skip", href="#main"),
        tag(
            "header",
            tag("h1", title),
            tag(
                "p",
                f"Data up to {day(context.last_day)}; made {made:%d %b %Y %H:%M} UTC by adsml {version}.",
            ),
            tag("nav", *links, aria_label="Sections"),
            _filters(context),
        ),
        tag("main", *(_section(one) for one in sections), id="main"),
        tag("script", Html(script)),
    )
    head = tag(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Html('<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'),
        tag("title", f"{title}: adsml report"),
        tag("style", Html(style)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _resource(name: str) -> str:
    return files("adsml_report").joinpath(name).read_text(encoding="utf-8")


def _hash(inline: str) -> str:
    return f"sha256-{b64encode(sha256(inline.encode()).digest()).decode()}"


def _filters(context: ReportContext) -> Html:
    options = [
        tag("option", "All campaigns", value=""),
        *(tag("option", name, value=one) for one, name in context.tree.campaigns()),
    ]
    return tag(
        "form",
        tag("label", "Campaign ", tag("select", *options, id="campaign")),
        tag("label", "Search ", Html('<input id="search" type="search" placeholder="name or word">')),
        tag("button", "Open all shown", type="button", id="open"),
        tag("button", "Close all", type="button", id="close"),
        Html('<output id="shown" aria-live="polite"></output>'),
        class_="filters",
        aria_label="Filter the report",
    )


def _section(section: Section) -> Html:
    return tag(
        "section",
        tag("h2", section.title, id=f"{section.key}-title"),
        tag("p", section.intro),
        *_flow(section.blocks),
        id=section.key,
        aria_labelledby=f"{section.key}-title",
    )


def _flow(blocks: Sequence[Block]) -> list[Html]:
    """Blocks in order; pictures that follow each other side by side where there is room."""
    out: list[Html] = []
    together: list[Html] = []
    for block in blocks:
        drawn = _block(block)
        if isinstance(block, Chart | Reliability):
            together.append(drawn)
            continue
        if together:
            out.append(tag("div", *together, class_="charts"))
            together = []
        out.append(drawn)
    if together:
        out.append(tag("div", *together, class_="charts"))
    return out


def _block(block: Block) -> Html:
    match block:
        case Table():
            return _table(block)
        case Chart():
            return _chart(block)
        case Reliability():
            return tag(
                "figure",
                tag("figcaption", block.title),
                draw_reliability(block),
                tag("p", "On the dashed line, answers are as often right as they are sure.", class_="key"),
                class_="square",
            )
        case Figures():
            tiles = [
                tag("div", tag("dt", one.name), tag("dd", one.value, tag("small", one.note)))
                for one in block.figures
            ]
            return tag("dl", *tiles, class_="tiles")
        case Entry():
            return _entry(block)
        case Note():
            return tag("p", block.text, class_="caution" if block.caution else "note")


def _chart(chart: Chart) -> Html:
    keys = legend(chart)
    shown = [
        tag("span", Html(f'<i class="k {look}"></i>'), name) for look, name in keys
    ] if len(keys) > 1 else []  # fmt: skip
    return tag(
        "figure",
        tag("figcaption", chart.title),
        draw(chart),
        tag("p", *shown, class_="key") if shown else Html(""),
    )


def _entry(entry: Entry) -> Html:
    return tag(
        "details",
        tag(
            "summary",
            tag("b", entry.title),
            Html(" "),
            _cell(entry.chip),
            Html(" "),
            tag("span", entry.summary),
        ),
        *_flow(entry.blocks),
        data_c=entry.campaign,
    )


def _table(table: Table) -> Html:
    heads = [
        tag("th", name, scope="col", class_="num" if name in table.numbers else None)
        for name in table.columns
    ]
    rows = []
    for row in table.rows:
        cells = [
            tag(
                "th" if at == 0 else "td",
                _cell(cell),
                scope="row" if at == 0 else None,
                class_="num" if table.columns[at] in table.numbers else None,
                data_l=table.columns[at] if at and table.columns[at] else None,
            )
            for at, cell in enumerate(row.cells)
        ]
        rows.append(tag("tr", *cells, data_c=row.campaign))
    return tag(
        "div",
        tag(
            "table",
            tag("caption", table.caption),
            tag("thead", tag("tr", *heads)),
            tag("tbody", *rows),
        ),
        class_="scroll",
    )


def _cell(cell: Cell) -> Html:
    match cell:
        case None:
            return Html("")
        case Chip():
            symbol = _SYMBOL.get(cell.tone.value)
            shown = f"{symbol} {cell.text}" if symbol else cell.text
            return tag("span", shown, class_=f"chip {cell.tone.value}")
        case Listing():
            return tag("ul", *(tag("li", one) for one in cell.items)) if cell.items else Html("")
        case _:
            return joined([cell])
