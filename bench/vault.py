"""Envelopes sealed and opened a second with the key file, over bare AES-256-GCM on the same bytes.

The ratio is that of opening with a warm data key, which is what a warm function does. Beside it: opening with a cold
one, which unwraps it first, and sealing, which makes a data key of its own and wraps it each time. The reference is
what an envelope encrypts itself: one AESGCM object a call, the same key's length, nonce, text and additional data. KMS
instead of the file adds its round trip to each cold open and each seal, and nothing to a warm open.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from secrets import token_bytes
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.measuring import Report, in_turns
from chalicelib.domain.secrets import Place, Secret
from chalicelib.integrations.vault.envelope import NONCE, Envelopes
from chalicelib.integrations.vault.keyfile import KeyFile

RUNS: Final = 15
CALLS: Final = 1000  # of each sample

HERE: Final = Place("cus_" + "0" * 26, "openai", "crd_" + "0" * 26)
SECRET: Final = Secret("sk-" + "x" * 161)  # as long as OpenAI's longest
CLEAR: Final = b'{"apiKey": "%s"}' % SECRET.reveal().encode()
BOUND: Final = b"\0".join((b"v1", HERE.customer_id.encode(), b"openai", HERE.credential_id.encode()))


def measure() -> Report:
    with tempfile.TemporaryDirectory() as place:
        file = KeyFile(Path(place) / "vault.key")
        warm, cold = Envelopes(file), Envelopes(file, clock=_Hurrying())
        sealed = warm.seal(SECRET, HERE)
        if not warm.open(sealed, HERE) == cold.open(sealed, HERE) == SECRET:
            raise AssertionError("What was sealed does not open.")
        key, nonce = token_bytes(32), token_bytes(NONCE)
        ciphertext = AESGCM(key).encrypt(nonce, CLEAR, BOUND)
        bare_open = _rate(lambda: AESGCM(key).decrypt(nonce, ciphertext, BOUND))
        bare_seal = _rate(lambda: AESGCM(key).encrypt(token_bytes(NONCE), CLEAR, BOUND))
        ours, theirs = in_turns(_rate(lambda: warm.open(sealed, HERE)), bare_open, runs=RUNS)
        cold_ours, cold_theirs = in_turns(_rate(lambda: cold.open(sealed, HERE)), bare_open, runs=RUNS)
        seal_ours, seal_theirs = in_turns(_rate(lambda: warm.seal(SECRET, HERE)), bare_seal, runs=RUNS)
    return Report(
        bench="vault",
        ours=ours,
        theirs=theirs,
        unit="opens/s",
        reference="bare AESGCM of the same bytes, the additional data included",
        better="higher",
        extras={
            "open_cold": _beside(cold_ours, cold_theirs),
            "seal": _beside(seal_ours, seal_theirs),
            "envelope_bytes": len(sealed),
        },
    )


class _Hurrying:
    """A clock by which every data key is too old."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        self._now += 3600
        return self._now


def _rate(once: Callable[[], object]) -> Callable[[], float]:
    """How often a second it can be done."""

    def sample() -> float:
        started = time.perf_counter()
        for _ in range(CALLS):
            once()
        return CALLS / (time.perf_counter() - started)

    return sample


def _beside(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
    return {
        "ratio": round(ratio, 3),
        "ours": round(statistics.median(ours)),
        "theirs": round(statistics.median(theirs)),
    }
