"""Brings each account's rows from where they are, every night: see docs/sync.md."""
