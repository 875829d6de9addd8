"""Who asks us to stop is heard, in several languages, and a footer or a quoted mail is no request."""

import time

import pytest

from chalicelib.agents.prompts.stop_requests import own_part, stop_request


@pytest.mark.parametrize(
    "reply",
    [
        "Please unsubscribe me.",
        "UNSUBSCRIBE",
        "I'd like to unsubscribe from this list",
        "Sounds good in general. But please take me off your list.",
        "Remove me",
        "Kindly remove my address from your database.",
        "Please stop emailing me!",
        "Stop contacting us.",
        "STOP",
        "Don’t write to me again.",
        "Do not contact me anymore",
        "never e-mail me again",
        "No more emails, thanks",
        "I do not wish to receive such messages.",
        "I want to opt out",
        "Leave me alone",
        "I withdraw my consent.",
        "unsub\u200bscribe me",
        "\uff35\uff4e\uff53\uff55\uff42\uff53\uff43\uff52\uff49\uff42\uff45 please",
        "Bitte keine weiteren E-Mails.",
        "Bitte keine Mails mehr an mich.",
        "Bitte nehmen Sie mich aus Ihrem Verteiler.",
        "Melden Sie mich bitte ab.",
        "Ich möchte mich vom Newsletter abmelden",
        "Streichen Sie mich bitte von der Liste",
        "Löschen Sie meine Daten.",
        "Schreiben Sie mir nicht mehr!",
        "Ich möchte nicht mehr angeschrieben werden.",
        "Hiermit widerspreche ich der Nutzung meiner Daten zu Werbezwecken.",
        "Unterlassen Sie weitere Anfragen.",
        "Ne m'écrivez plus.",
        "Merci de me désinscrire.",
        "Je ne souhaite plus recevoir vos messages.",
        "Retirez-moi de votre liste",
        "Por favor, quiero darme de baja",
        "No me escriban más.",
        "Cancellatemi dalla lista",
        "Non voglio più ricevere queste mail",
        "Graag uitschrijven",
        "Geen mails meer aub",
        "Proszę nie pisać więcej",
        "Não quero mais receber e-mails",
        "On Monday Grace wrote:\n> Hello\n> unsubscribe here\n\nStop writing to me.",
        "From: our side this is enough\nunsubscribe us",
    ],
)
def test_a_request_to_stop_is_heard_and_quoted(reply: str) -> None:
    """Seen red with the patterns of a language taken out."""
    stop = stop_request(reply)
    assert stop
    assert stop in reply


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Sounds good, let us talk.",
        "Not interested, thank you.",
        "Please don't contact me until January.",
        "Don't unsubscribe me, I like this!",
        "Stop by our booth at the fair.",
        "We stopped using that tool last year.",
        "I am out of office and have limited access to mail.",
        "Ich muss mich diese Woche abmelden, bin krank.",
        "Ich habe keine Mail von Ihnen erhalten.",
        "Wir suchen gerade keine neue Lösung.",
        "Je suis absent cette semaine.",
        "Estoy fuera de la oficina.",
        "Interested!\n\nOn Mon, 2 Nov 2026 Grace wrote:\n> Unsubscribe: click here",
        "Interested!\n\n-----Original Message-----\nHello,\nplease unsubscribe here",
        "Gern!\n\nVon: Grace\nGesendet: Montag\nBitte keine weiteren E-Mails",
        "Away until Monday.\n\nIf you no longer wish to receive our newsletter, unsubscribe below.",
        "Away until Monday.\nTo unsubscribe, click here.",
        "Bin im Urlaub.\nWenn Sie keine weiteren E-Mails erhalten möchten, klicken Sie hier.",
    ],
)
def test_what_is_no_request_is_none(reply: str) -> None:
    assert stop_request(reply) is None


def test_an_answer_below_or_between_what_is_quoted_is_the_replys_own() -> None:
    reply = "Hi\nOn Monday Grace wrote:\n> Hello Ada\nyes\n> Shall we talk?\nno"
    assert own_part(reply) == "Hi\nyes\nno"


@pytest.mark.parametrize(
    "piece",
    [
        "don't ",
        "keine mails ",
        "nehmen sie mich ",
        "On a wrote:\n> x\n",
        "From: a\nTo: b\n",
        "ne me ",
        "a",
        ">",
        "\n",
    ],
)
def test_a_long_reply_does_not_take_long(piece: str) -> None:
    started = time.monotonic()
    stop_request(piece * (1_000_000 // len(piece)))
    assert time.monotonic() - started < 10
