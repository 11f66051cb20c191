"""Training runs: what was asked for, what came of every item, and who may work on it now."""
