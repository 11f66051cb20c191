"""What tests share beside fixtures: `from support.databases import ...` (`pythonpath` in pyproject.toml)."""
