"""Trained models: bundles, where they lie, which version serves, and how servers load them.

Artifact first, row second, activation third, each idempotent: a crash between any two leaves no model that a
reader can see and nothing that a rerun can't finish.
"""
