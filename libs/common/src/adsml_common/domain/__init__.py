"""The words of the field: entities, metrics, windows, changes, tiers, and what can go wrong.

Pure: no gRPC, no SQL, no environment.
"""
