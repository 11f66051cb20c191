"""``python -m adsml_common.cli``: the `adsml` command without its script."""

from adsml_common.cli.main import script

script()
