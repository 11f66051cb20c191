"""A reliability diagram as SVG: how sure the model was against how often it was right."""

from collections.abc import Sequence
from typing import Final

from adsml_report.picture import FAINT, INK, picture, text

from adsml_classifier.models.scores import Bin

_SIZE: Final = 360
_MARGIN: Final = 58


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
    full = _SIZE + 2 * _MARGIN
    parts = [
        text(full / 2, 24, title, anchor="middle", size=14),
        f"<rect x='{_x(0)}' y='{_y(1)}' width='{_SIZE}' height='{_SIZE}' fill='none' stroke='{FAINT}'/>",
        f"<line x1='{_x(0)}' y1='{_y(0)}' x2='{_x(1)}' y2='{_y(1)}' stroke='{INK}' stroke-dasharray='4 4'/>",
    ]
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(text(_x(part), _y(0) + 16, f"{part:.0%}", anchor="middle"))
        parts.append(text(_x(0) - 6, _y(part) + 4, f"{part:.0%}", anchor="end"))
    for one in bins:
        label = f"{one.count} answers, {one.confidence:.0%} sure, {one.accuracy:.0%} right"
        parts.append(
            f"<circle cx='{_x(one.confidence):.1f}' cy='{_y(one.accuracy):.1f}' "
            f"r='{2 + 10 * (one.count / most) ** 0.5:.1f}' fill='#0072B2' fill-opacity='0.6'>"
            f"<title>{label}</title></circle>"
        )
    parts.append(text(full / 2, full - 8, "how sure", anchor="middle"))
    upright = text(0, 0, "how often right", anchor="middle")
    parts.append(f"<g transform='translate(14 {full / 2}) rotate(-90)'>{upright}</g>")
    return picture(full, full, title=title, parts=parts)


def _x(part: float) -> float:
    return _MARGIN + _SIZE * part


def _y(part: float) -> float:
    return _MARGIN + _SIZE * (1 - part)
