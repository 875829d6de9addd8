"""The line of a benchmark says its limit, and whether it holds."""

import json

import pytest

from bench.measuring import Limit, Report


@pytest.mark.parametrize(("most", "holds"), [(0.49, False), (0.5, True)])
def test_a_line_says_whether_its_limit_holds(most: float, holds: bool) -> None:  # noqa: FBT001 - a case
    report = Report("quick", [1.0], [2.0], "ms", "another", limit=Limit("ratio", most))
    assert json.loads(report.line())["limit"] == {"name": "ratio", "most": most, "holds": holds}


def test_a_limit_may_be_of_an_extra_and_a_line_without_one_says_none() -> None:
    report = Report(
        "small", [31.0], [60.0], "MB", "another", extras={"zip_mb": 31.0}, limit=Limit("zip_mb", 30)
    )
    assert not json.loads(report.line())["limit"]["holds"]
    assert "limit" not in json.loads(Report("free", [1.0], [1.0], "ms", "another").line())
