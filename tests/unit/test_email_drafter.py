"""What a reviewer is told of a draft before it may go out."""

import pytest

from chalicelib.agents.email_drafter import rule_breaks

FINE = "Hello Ada, you opened a second depot in May. Shall we talk, e.g. next week?"


def codes(subject: str, body: str) -> set[str]:
    return {flag["code"] for flag in rule_breaks(subject, body, "Ada")}


def test_a_plain_draft_has_no_flag() -> None:
    assert codes("Your second depot", FINE) == set()


@pytest.mark.parametrize(
    "lure",
    [
        "https://evil.example/pay",
        "HTTP://EVIL.EXAMPLE",
        "www.evil.example",
        "evil.example/pay",
        "evil-login.com",
        "pay@evil.example",
        "mailto:pay@evil",
        "<a href='//evil'>here</a>",
        "evil\u3002com",
        "\uff45vil\uff0ecom",
        "evil\u200b.com",
    ],
)
def test_whatever_a_mail_program_makes_a_link_of_is_flagged(lure: str) -> None:
    """A draft without a flag goes out by the tenant's rule with nobody looking."""
    assert "link" in codes("Your second depot", f"{FINE} {lure}")
    assert "link" in codes(lure, FINE)
