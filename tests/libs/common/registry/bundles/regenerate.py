"""Writes the frozen bundle of the present format version, once, when a format is introduced.

Never run it over an existing file: the point of these files is that they were written by former versions.

    python tests/libs/common/registry/bundles/regenerate.py
"""

import sys
from pathlib import Path

from adsml_common.registry.bundle import FORMAT_VERSION, Bundle, pack

CONTENT = {
    "parameters.json": b'{"threshold": 0.25, "name": "\xc3\xa9t\xc3\xa9"}',
    "trees/0.bin": bytes(range(256)),
    "empty": b"",
}


def main() -> None:
    """Write the file, or refuse."""
    path = Path(__file__).parent / f"format_{FORMAT_VERSION}.zip"
    if path.exists():
        sys.exit(f"{path} exists; bump FORMAT_VERSION to write a new one")
    bundle = Bundle.of(
        model_type="frozen_example",
        files=CONTENT,
        feature_columns=("cpl_ratio", "ctr_ratio"),
        library_versions={"numpy": "2.0.0", "python": "3.11.7"},
    )
    path.write_bytes(pack(bundle))


if __name__ == "__main__":
    main()
