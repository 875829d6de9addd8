"""What ends a slice before its agent is done."""

from typing import Final

from chalicelib.domain.errors import BudgetReached, LimitReached


class Yielded(Exception):
    """The slice is over; the run goes back to the queue."""


class SwitchedOff(Exception):
    """The tenant's agents were switched off while the run was at work."""


class CancelRequested(Exception):
    """Somebody asked the run to stop."""


class Enough(Exception):
    """The agent's daily limit is reached: the run is complete, and says what it left."""


STOPS: Final = (Yielded, SwitchedOff, CancelRequested, Enough, LimitReached, BudgetReached)
"""Raised where calls are booked, so none is under way because of them."""
