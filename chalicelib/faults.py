"""The points at which a worker may die, by name, so that tests can make it die there.

Nothing is installed in production: `reach` calls a function that does nothing.
"""

from collections.abc import Callable
from enum import StrEnum


class Point(StrEnum):
    BEFORE_CLAIM = "before_claim"
    AFTER_CLAIM = "after_claim"
    BEFORE_CALL = "before_call"
    AFTER_CALL = "after_call"
    BEFORE_CHECKPOINT = "before_checkpoint"
    AFTER_CHECKPOINT = "after_checkpoint"
    BEFORE_END = "before_end"
    AFTER_END = "after_end"
    BEFORE_EVENT_COUNTS = "before_event_counts"
    BEFORE_SLOT_COUNTS = "before_slot_counts"
    BEFORE_APPLY = "before_apply"
    AFTER_APPLY = "after_apply"
    BEFORE_PUBLISH = "before_publish"
    AFTER_PUBLISH = "after_publish"
    BEFORE_REWRAP = "before_rewrap"
    AFTER_REWRAP = "after_rewrap"


def _go_on(_point: Point) -> None:
    pass


_hook: Callable[[Point], None] = _go_on


def uninstall() -> None:
    """Nothing happens at the points again."""
    install(_go_on)


def install(hook: Callable[[Point], None]) -> None:
    """Have `hook` called at every point. For tests."""
    global _hook  # noqa: PLW0603 - one process, one hook
    _hook = hook


def reach(point: Point) -> None:
    _hook(point)
