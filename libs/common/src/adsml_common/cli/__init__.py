"""The `adsml` command.

The command knows no family: each installed service announces itself through the entry-point group
``adsml.families`` (see `adsml_common.cli.family`).
"""
