"""A clock whose hands a test moves."""

from datetime import datetime, timedelta


class Hands:
    """Says what a test set."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def __call__(self) -> datetime:
        return self.moment

    def forward(self, by: timedelta | float) -> None:
        """By a time, or by seconds."""
        self.moment += by if isinstance(by, timedelta) else timedelta(seconds=by)

    def seconds(self) -> float:
        """As a monotonic clock says it."""
        return self.moment.timestamp()
