"""Which rules a draft breaks: what the model is told, and what a reviewer sees before it may go out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.agents.prompts.email_draft import FEWER_THAN, Context, Draft, check

FINE = (
    "Hello Ada,\n\nyou opened a second depot in May. Most teams lose hours then, e.g. with routes. We plan routes in"
    " minutes.\n\nShall we talk next week?\n\nBest,\nGrace Hopper\nHead of Sales"
)
CONTEXT = Context(
    contact_name="Ada Lovelace",
    first_name="Ada",
    company_name="Northwind",
    product_value="Plans routes in minutes",
    sender_name="Grace Hopper",
    sender_title="Head of Sales",
)


def codes(
    body: str = FINE, *, subject: str = "Your second depot", used: tuple[str, ...] = ("companyName",)
) -> set[str]:
    draft = Draft(subject=subject, body=body, factsUsed=list(used))
    return {broken.code for broken in check(CONTEXT, draft)}


def test_a_plain_draft_breaks_no_rule() -> None:
    assert codes() == set()


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
    assert "link" in codes(f"{FINE} {lure}")
    assert "link" in codes(subject=lure)


def test_the_limit_is_fewer_than_150_words() -> None:
    """Seen red with `>` in place of `>=`."""
    words = len(FINE.replace("e.g.", "eg").split())
    lengthen = "Hello Ada,\n\n" + "word " * (FEWER_THAN - 1 - words) + FINE.removeprefix("Hello Ada,\n\n")
    assert "too_long" not in codes(lengthen)
    assert "too_long" in codes(lengthen.replace("Most", "Most most"))


@pytest.mark.parametrize("glue", ["\u00a0", "\u2003", " – ", "—", "/", "\u200b ", ", "], ids=ascii)
def test_words_count_however_they_are_put_together(glue: str) -> None:
    assert "too_long" in codes(glue.join(["word"] * 200) + FINE)


def test_a_script_without_spaces_has_a_limit_too() -> None:
    assert "too_long" in codes("你" * 400 + FINE)
    assert "too_long" not in codes("你" * 100 + FINE)


@pytest.mark.parametrize(
    "word", ["synergy", "Game-changing", "seamlessly", "LEVERAGE", "sea\u200bmless", "best in class"]
)
def test_a_buzzword_is_told(word: str) -> None:
    assert "buzzwords" in codes(FINE.replace("minutes", f"minutes, {word}"))
    assert "buzzwords" in codes(subject=word)


@pytest.mark.parametrize(
    "end",
    [
        "Shall we talk?",
        "Shall we talk?\n\nBest,\nGrace",
        "Shall we talk?\nThanks!\nGrace Hopper, Head of Sales",
        'Or is it "not yet?"\n\nKind regards,\nGrace Hopper',
        "Shall we talk?\n\n—\nGrace",
        "Passt das \uff1f\n\nViele Grüße\nGrace Hopper",
    ],
)
def test_a_question_and_a_signature_are_an_end(end: str) -> None:
    assert codes(FINE[: FINE.index("Shall")] + end) == set()


@pytest.mark.parametrize(
    "end",
    [
        "Let us talk.",
        "Shall we talk? Call me tomorrow.",
        "Shall we talk?\n\nBuy it now!\n\nGrace",
        "Is it so? I shall call you on Monday at nine.\n\nBest,\nGrace Hopper",
        "Shall we talk?\n\nPS: We have a discount until Friday.",
    ],
)
def test_anything_else_after_the_question_is_told(end: str) -> None:
    assert "no_question" in codes(FINE[: FINE.index("Shall")] + end)


def test_a_draft_has_its_four_parts() -> None:
    assert "structure" in codes("Hello Ada, you opened a depot in May. Shall we talk?")


@pytest.mark.parametrize("gap", ["[Company]", "{{company}}", "{name}", "<your title>", "XXX"])
def test_a_placeholder_is_told(gap: str) -> None:
    assert "placeholder" in codes(FINE.replace("May", gap))
    assert "placeholder" in codes(subject=f"For {gap}")


def test_the_reader_is_named() -> None:
    assert "not_addressed" in codes(FINE.replace("Ada", "there"))


def test_facts_that_were_not_given_cannot_be_used() -> None:
    """Seen red without the check."""
    assert codes(used=("companyName", "senderName")) == set()
    assert codes(used=("recentNews",)) == {"unknown_facts"}  # there is none of this contact


@pytest.mark.parametrize(("subject", "body"), [("", FINE), (" \n", FINE), ("A question", " \n ")])
def test_a_draft_without_words_is_empty(subject: str, body: str) -> None:
    assert codes(body, subject=subject) == {"empty"}


def test_a_subject_that_has_to_be_cut_is_told() -> None:
    assert "long_subject" in codes(subject="word " * 100)


@given(st.text(max_size=400), st.text(max_size=80))
def test_any_answer_can_be_checked(body: str, subject: str) -> None:
    codes(body, subject=subject)
