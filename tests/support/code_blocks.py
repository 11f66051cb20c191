"""Code blocks of the documentation, and the folder they are run in.

A block of shell or Python is run, page by page and in order, unless its first line says ``no-run:`` and why.
Everything else is output, a picture or a file, and says so by its language (``text``, ``mermaid``, ``json``).
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUN = ("sh", "python")
SHOWN = ("text", "json", "mermaid", "toml", "yaml", "csv", "promql", "proto")
_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block: its page, line, language, reason not to run it, and content."""

    page: Path
    line: int
    language: str
    reason: str | None
    body: str

    @property
    def place(self) -> str:
        """Where it stands."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Every page that people read."""
    return [ROOT / "README.md", ROOT / "protos" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        language, _, rest = match["info"].strip().partition(" ")
        reason = rest.removeprefix("no-run:").strip() if rest.startswith("no-run:") else None
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, language, reason, match["body"]))
    return found
