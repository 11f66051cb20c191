"""The nightly scan: every account's incidents kept, and handed to Alertmanager."""
