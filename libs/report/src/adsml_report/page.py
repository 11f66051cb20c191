"""Puts sections together as one HTML page that needs nothing from anywhere.

Colours, layout and script are inside; a content security policy with their hashes forbids everything else, so that
nothing is fetched and nothing that came in with the data could run.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import sha256
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from adsml_report import plot
from adsml_report.account import DataState
from adsml_report.content import Block, Chip, Entry, Finding, Section
from adsml_report.context import ReportContext
from adsml_report.wording import day, sentence, short_day

_MOST_FINDINGS: Final = 7
_SIGNS: Final = {
    "good": "\N{BLACK UP-POINTING TRIANGLE}",
    "fair": "\N{BLACK DIAMOND}",
    "poor": "\N{WHITE DIAMOND}",
    "bad": "\N{BLACK DOWN-POINTING TRIANGLE}",
}


@dataclass(frozen=True, slots=True)
class IndexRow:
    """An account in the list of accounts; `page` is its file, None where `error` says why there is none."""

    config_id: int
    name: str
    last_day: date | None = None
    old: bool = False
    headlines: tuple[Finding, ...] = ()
    page: str | None = None
    error: str = ""


def ranked(sections: Sequence[Section]) -> list[Finding]:
    """The first screen's sentences, by the money in them."""
    found = [one for section in sections for one in section.findings]
    return sorted(found, key=lambda one: -(one.weekly if one.weekly is not None else -1.0))[:_MOST_FINDINGS]


def render(
    context: ReportContext,
    sections: Sequence[Section],
    state: DataState,
    behind: Sequence[Entry],
    *,
    made: datetime,
    version: str,
) -> str:
    """The page; `behind` is what the answers rest on, at its end."""
    ordered = sorted(sections, key=lambda one: one.rank)
    rest = [Entry(one.title, "", one.behind) for one in ordered if one.behind]
    return _page(
        "report.html",
        title=context.name,
        context=context,
        state=state,
        findings=ranked(ordered),
        sections=ordered,
        behind=[*rest, *behind],
        made=made,
        version=version,
    )


def render_index(rows: Sequence[IndexRow], *, made: datetime, version: str) -> str:
    """The list of accounts, each linking to its page."""
    return _page("index.html", title="Ad accounts", rows=rows, made=made, version=version)


def _page(template: str, **values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("adsml_report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    environment.filters.update(day=day, short_day=short_day, sentence=sentence)
    environment.tests.update(chip=lambda one: isinstance(one, Chip), day=lambda one: isinstance(one, date))
    environment.globals.update(
        draw=plot.draw, draw_reliability=plot.draw_reliability, legend=plot.legend, readings=plot.readings,
        signs=_SIGNS, flow=_flow,
    )  # fmt: skip
    inlined = {
        name: Markup("".join(_source(environment, part) for part in parts))  # noqa: S704  # our own
        for name, parts in (("style", ("plot.css", "style.css")), ("script", ("script.js",)))
    }
    policy = (
        f"default-src 'none'; style-src '{_hash(inlined['style'])}'; script-src '{_hash(inlined['script'])}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return environment.get_template(template).render(policy=policy, **inlined, **values)


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None  # noqa: S101  # given above
    return environment.loader.get_source(environment, name)[0]


def _hash(inline: str) -> str:
    return f"sha256-{b64encode(sha256(inline.encode()).digest()).decode()}"


def _flow(blocks: Sequence[Block]) -> list[list[Block]]:
    """Blocks in order; pictures that follow each other together."""
    out: list[list[Block]] = []
    for block in blocks:
        drawn = block.kind in ("chart", "reliability")
        if drawn and out and out[-1][-1].kind in ("chart", "reliability"):
            out[-1].append(block)
        else:
            out.append([block])
    return out
