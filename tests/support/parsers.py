"""Parsers as a family has one, and what wrong bytes can make a native one do. Found by name in another process."""

import os
import signal
import time

from adsml_common.registry.bundle import unpacks_to


def value(version, bundle):
    return int(bundle.files["value.json"])


def crash(version, bundle):
    os.kill(os.getpid(), signal.SIGSEGV)


def crash_on_7(version, bundle):
    if bundle.files["value.json"] == b"7":
        crash(version, bundle)
    return value(version, bundle)


def allocate(version, bundle):
    return bytearray(
        2 << 30
    )  # more than a child may, and no more than a machine bears where nothing holds it


def hang(version, bundle):
    time.sleep(20)


def refuse(version, bundle):
    raise ValueError("not a booster")


def spy(version, bundle):
    """Fails where it sees a secret of the process that asked."""
    assert not [name for name in os.environ if name.startswith("ADSML_")]


def chatter(version, bundle):
    print("{}")
    os.write(1, b"noise\n")


@unpacks_to(10)
def sparing(version, bundle):
    """Of a family whose models are tiny."""
