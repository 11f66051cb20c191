"""HTML by composition: a text is escaped unless it was made here."""

from collections.abc import Iterable
from html import escape


class Html(str):
    """Markup made by `tag`; any other string is a text and gets escaped."""

    __slots__ = ()


def text(value: str) -> Html:
    """A text as markup."""
    return Html(escape(value, quote=True))


def joined(parts: Iterable[str]) -> Html:
    """Parts one after the other; texts among them are escaped."""
    return Html("".join(part if isinstance(part, Html) else text(part) for part in parts))


def tag(name: str, *children: str, **attributes: str | float | bool | None) -> Html:
    """An element.

    Parameters
    ----------
    name
        Of the element.
    children
        What is inside it: markup, or texts, which are escaped.
    attributes
        By name; an underscore stands for a hyphen, a trailing one is dropped (``class_``). None and False
        leave the attribute out, True leaves out its value.
    """
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        shown = key.rstrip("_").replace("_", "-")
        written.append(f" {shown}" if value is True else f' {shown}="{escape(str(value), quote=True)}"')
    return Html(f"<{name}{''.join(written)}>{joined(children)}</{name}>")
