"""A reliability diagram as SVG: how sure the model was against how often it was right."""

from collections.abc import Sequence
from html import escape
from typing import Final

from adsml_classifier.scores import Bin

_SIZE: Final = 360
_MARGIN: Final = 48


def reliability_svg(bins: Sequence[Bin], *, title: str) -> str:
    """The diagram: one dot per bin, its area by the bin's samples; on the diagonal where confidence is earned.

    Parameters
    ----------
    bins
        As of `scores.reliability`.
    title
        Stands above it.
    """
    most = max((one.count for one in bins), default=1)
    dots = [
        f'<circle cx="{_x(one.confidence):.1f}" cy="{_y(one.accuracy):.1f}" '
        f'r="{2 + 10 * (one.count / most) ** 0.5:.1f}" fill="#2563eb" fill-opacity="0.6">'
        f"<title>{one.count} answers, {one.confidence:.0%} sure, {one.accuracy:.0%} right</title></circle>"
        for one in bins
    ]
    ticks = [
        f'<text x="{_x(part):.0f}" y="{_y(0) + 16:.0f}" text-anchor="middle">{part:.0%}</text>'
        f'<text x="{_x(0) - 6:.0f}" y="{_y(part) + 4:.0f}" text-anchor="end">{part:.0%}</text>'
        for part in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    full = _SIZE + 2 * _MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{full}" height="{full}" viewBox="0 0 {full} {full}" '
            'font-family="sans-serif" font-size="12">',
            f'<rect width="{full}" height="{full}" fill="white"/>',
            f'<text x="{full / 2}" y="24" text-anchor="middle" font-size="14">{escape(title)}</text>',
            f'<rect x="{_x(0)}" y="{_y(1)}" width="{_SIZE}" height="{_SIZE}" fill="none" stroke="#999"/>',
            f'<line x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}" stroke="#999" stroke-dasharray="4 4"/>',
            *ticks,
            *dots,
            f'<text x="{full / 2}" y="{full - 8}" text-anchor="middle">how sure</text>',
            f'<text x="14" y="{full / 2}" text-anchor="middle" transform="rotate(-90 14 {full / 2})">'
            "how often right</text>",
            "</svg>",
            "",
        ]
    )


def _x(part: float) -> float:
    return _MARGIN + _SIZE * part


def _y(part: float) -> float:
    return _MARGIN + _SIZE * (1 - part)
