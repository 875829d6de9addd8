"""Work on many in turns, so that none keeps the others waiting."""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from chalicelib.db import work
from chalicelib.db.driver import came_too_late

logger = logging.getLogger(__name__)

Whose = TypeVar("Whose", bound=str)

LOCK_WAIT: Final = timedelta(seconds=1)
LONGEST_STATEMENT: Final = timedelta(seconds=10)


def hurry(session: Session) -> None:
    """What somebody holds is left for the next minute."""
    work.hurry(session, lock=LOCK_WAIT, statement=LONGEST_STATEMENT)


def in_turns(whose: Iterable[Whose], once: Callable[[Whose], bool], *, enough: Callable[[], bool]) -> None:
    """Call `once` with each; those for whom it says that more is left come again after the others.

    Until none is left, or `enough`. A failure is logged and leaves that one for the next minute.
    """
    waiting = deque(whose)
    while waiting:
        if enough():
            logger.warning("the sweep is out of time; the next one goes on", extra={"left": len(waiting)})
            return
        turn = waiting.popleft()
        try:
            if once(turn):
                waiting.append(turn)
        except DBAPIError as error:
            if not came_too_late(error):
                logger.exception("one could not be swept; the others go on", extra={"of": turn})
            else:
                logger.warning("one is held by somebody; the others go on", extra={"of": turn})
        except Exception:
            logger.exception("one could not be swept; the others go on", extra={"of": turn})
