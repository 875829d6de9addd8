"""Whether a reply asks us to stop writing. No model is asked: this must not depend on its mood.

It leans to the safe side: a lead lost is cheaper than a person who is written to after they said no. A footer that
only tells how to unsubscribe, and the mail that a reply quotes, are no request.
"""

import re
from collections.abc import Iterator
from typing import Final

from chalicelib.agents.prompts.text import as_read, sentences

VERSION: Final = "1"
LONGEST: Final = 100_000
"""Characters of a reply that are looked at."""

_UNTIL: Final = r"(?!.{0,40}\b(?:until|till|before|unless)\b)"
_WRITE: Final = r"(?:e-?mail|contact|write|message|mail|text)"
_LIST: Final = r"(?:ab|aus|verteiler|liste)"
_SEND: Final = r"(?:schreiben|kontaktieren|mailen|schreib|kontaktiere?)"
_ASKS: Final = re.compile(
    "|".join(
        (
            # English
            r"\bunsubscribe?d?\b|\bunsubscribing\b",
            r"\bopt(?:ing)?[ -]?(?:me |us )?out\b",
            r"\b(?:remove|delete|erase) (?:me|us|my|our)\b|\btake (?:me|us) off\b|\b(?:strike|drop) (?:me|us) from\b",
            r"\bremove (?:this|the) (?:e-?mail )?address\b",
            r"\b(?:stop|quit|cease) (?:all |any |with )?(?:e-?mail|mail|writ|contact|messag|send|spam|bother)\w*",
            rf"\b(?:do not|don't|dont|never|no longer)\b.{{0,15}}\b{_WRITE}\b(?: to)? (?:me|us|here)\b{_UNTIL}",
            r"\bno (?:more|further) (?:e-?mails?|messages?|mails?|contact|communication)\b",
            r"^\W*stop(?: it| this| please| now)?\W*$|\bleave (?:me|us) alone\b",
            r"\b(?:do not|don't|dont|no longer) (?:wish|want|care) to (?:receive|hear from you|get|be contacted)\b",
            r"\bwithdraw (?:my )?consent\b|\bright to be forgotten\b|\bobject to (?:the |any )?(?:use|processing)\b",
            r"\bdo[ -]not[ -]contact(?: list)?\b",
            # German
            r"\b(?:austragen|abbestellen)\b|^\W*abmelden\W*$",
            r"\b(?:bitte|newsletter|verteiler|liste)\b.{0,30}\babmelden\b",
            rf"\b(?:melden?|tragen?|nehmen?|trag|nimm|meld) (?:sie )?(?:mich|uns|bitte mich)\b.{{0,50}}\b{_LIST}\b",
            r"\b(?:streichen?|löschen?|entfernen?) (?:sie )?(?:bitte )?(?:mich|uns|meine|unsere)\b",
            r"\baus (?:ihrem|dem|eurem|deinem|ihrer|der) (?:e-?mail-?)?(?:verteiler|liste|datenbank|mailingliste)\b",
            r"\bkeine? weiteren? (?:e-?)?(?:mails?|nachrichten|anfragen|werbung|kontakt\w*|anschreiben)\b",
            r"\bkeine? (?:e-?)?(?:mails?|nachrichten|werbung|anrufe|newsletter)\b.{0,30}\bmehr\b",
            r"\bkeine werbung\b",
            rf"\b{_SEND} (?:sie )?(?:mich|mir|uns)\b.{{0,30}}\bnicht (?:mehr|wieder|weiter)\b",
            r"\bnicht (?:mehr|weiter|wieder) (?:\w+ )?(?:an)?(?:schreiben|kontaktieren|angeschrieben|kontaktiert)\b",
            r"\bunterlassen sie\b|\bwiderspr(?:eche|uch)\b.{0,60}\b(?:werb|daten|nutzung|kontakt|verarbeit|zusend)",
            # French
            r"\bd[ée]s(?:abonn|inscri)\w*|\bne (?:m'|me |nous )\w+ plus\b",
            r"\bne (?:plus|souhaite plus|veux plus|désire plus) (?:être contact|recevoir)|\bplus recevoir\b",
            r"\b(?:retirez|supprimez|enlevez|effacez)[ -](?:moi|nous|mon|mes|notre)\b|\bcessez de\b",
            # Spanish
            r"\b(?:dar|den|de|da)(?:me|se|nos) de baja\b|\bde baja de (?:su|la|esta) lista\b",
            r"\bno (?:me|nos) (?:escrib|contact|env)\w+ más\b|\bno (?:quiero|deseo) (?:recibir|más)\b",
            r"\b(?:elim[ií]n|b[óo]rr)\w{0,3}(?:me|nos)\b|\bdejen? de (?:escrib|envi|contact)\w+",
            # Italian
            r"\bcancell(?:ami|atemi|armi|ateci)\b|\bdisiscri\w+|\brimuov(?:imi|etemi|ermi)\b",
            r"\bnon (?:mi )?(?:scriv|contatt)\w+ più\b|\bnon (?:desidero|voglio) (?:più )?ricevere\b",
            # Dutch
            r"\b(?:uitschrijven|afmelden)\b|\bschrijf (?:me|mij|ons) uit\b",
            r"\bgeen (?:e-?mails?|mails?|berichten) meer\b",
            r"\bverwijder (?:me|mij|mijn|ons)\b",
            # Polish
            r"\bwypis\w+ (?:mnie|nas)\b|\bwypisać się\b|\bproszę o usunięcie\b",
            r"\bproszę nie (?:pisać|kontaktować|wysyłać)\b",
            # Portuguese
            r"\bdescadastr\w+|\bremov(?:er|a|am)[ -]?(?:me|nos|meu)\b|\bnão (?:quero|desejo) (?:mais )?receber\b",
        )
    ),
    re.DOTALL,
)
_IS_NO_REQUEST: Final = re.compile(
    r"\b(?:don't|dont|do not|didn't|did not|never|not|nicht)\b[^,.;]{0,14}\b(?:unsubscrib|abmelden)"
    r"|\b(?:click|clic|klick\w*|cliquez|clicca)\b|\bunsubscribe (?:link|here)\b"
    r"|^if you (?:no longer |do not |don't )?(?:wish|want|would|prefer)\b|^(?:wenn|falls|sollten) sie\b|^um sich\b"
    r"|^to (?:unsubscribe|opt[ -]?out|stop)\b|^you(?: can|'re| are| may)\b|^si vous\b|^pour vous\b|^si (?:no )?desea\b"
)
_HEADER: Final = re.compile(
    r"^(?:on .{1,200} wrote:|am .{1,200} schrieb .{0,200}:|le .{1,200} a écrit ?:|el .{1,200} escribió:"
    r"|-{2,} ?(?:original message|ursprüngliche nachricht|forwarded message).{0,80}"
    r"|_{10,})$",
    re.IGNORECASE,
)
_FROM: Final = re.compile(r"^(?:from|von|de|da|van) ?: ?.{1,200}$", re.IGNORECASE)
_AND_TO: Final = re.compile(
    r"^(?:sent|to|date|cc|subject|gesendet|an|datum|betreff|envoyé|à|objet|enviado|para|asunto|inviato|verzonden) ?:",
    re.IGNORECASE,
)


def stop_request(reply: str) -> str | None:
    """The sentence of a reply that asks us to stop, literally; None where none does."""
    for sentence in sentences(own_part(reply)):
        read = as_read(sentence).casefold().replace("’", "'").strip(" -*>\t")
        if _ASKS.search(read) and not _IS_NO_REQUEST.search(read):
            return sentence
    return None


def own_part(reply: str) -> str:
    """A reply without the mail that it quotes, whose footer may well say `unsubscribe`."""
    return "\n".join(_own_lines(reply[:LONGEST].splitlines())).strip()


def _own_lines(lines: list[str]) -> Iterator[str]:
    for place, line in enumerate(lines):
        plain = line.strip()
        if plain.startswith(">"):
            continue
        follows = next((later.strip() for later in lines[place + 1 : place + 4] if later.strip()), "")
        if _HEADER.match(plain) or (_FROM.match(plain) and _AND_TO.match(follows)):
            if not follows.startswith(">"):
                return  # the quoted mail is not marked: it is all that follows
            continue  # it is, and an answer may stand below it
        yield line
