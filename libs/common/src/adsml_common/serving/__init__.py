"""The harness every service runs in: an asynchronous edge around plain synchronous handlers.

Importing this package imports nothing else, so that `threads.pin_threads` can run before the numeric
libraries read their settings.
"""
