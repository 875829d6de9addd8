"""Imported first, by app.py: while it imports the rest, nobody looks for garbage, since there is none.

A hundred thousand objects are made that all stay. Looking through them again and again would take a fifth
of a cold start.
"""

import gc

gc.disable()


def over() -> None:
    """What every event needs is imported. It stays for good, and is not looked through again."""
    gc.freeze()
    gc.enable()
