"""The training jobs: stored rows to registered models."""
