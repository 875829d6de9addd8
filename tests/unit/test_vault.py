"""Envelopes and the key file: what opens, and all that does not."""

import copy
import dataclasses
import json
import os
import pickle
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from itertools import count
from pathlib import Path

import pytest

from chalicelib.domain.errors import Unavailable
from chalicelib.domain.secrets import DataKey, Place, SealBroken, Secret, WrappedKey
from chalicelib.integrations.vault.envelope import LONGEST_WARM, MOST_WARM, Envelope, Envelopes
from chalicelib.integrations.vault.keyfile import KeyFile
from chalicelib.settings import MissingSetting, Settings
from tests.integration.apollo_world import all_that_shows

CANARY = "sk-canary-7f3e91d0c2"
HERE = Place("cus_1", "openai", "crd_1")
PARTS = ("version", "key id", "wrapped key", "nonce", "ciphertext and tag")


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "vault.key")


@pytest.fixture
def vault(file: KeyFile) -> Envelopes:
    return Envelopes(file)


# Secrets


def test_a_secret_shows_nowhere() -> None:
    secret = Secret(CANARY)
    shown = f"{secret} {secret!r} {[secret]} {secret!s:>40} {vars(type(secret)).get('x')}"
    assert CANARY not in shown
    assert secret.reveal() == CANARY
    assert secret == Secret(CANARY) != Secret("other")
    for escape in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            escape(secret)
    with pytest.raises(TypeError):
        json.dumps({"key": secret})


def test_four_characters_are_shown_of_a_key_and_none_of_a_short_one() -> None:
    assert Secret(CANARY).last_four == "d0c2"
    assert Secret("ollama").last_four is None


def test_a_data_key_does_not_show() -> None:
    key = DataKey(b"canary-canary-canary", WrappedKey("id", b"x"))
    assert "canary" not in repr(key)


# Envelopes


def test_what_was_sealed_opens_in_its_own_place(vault: Envelopes) -> None:
    sealed = vault.seal(Secret(CANARY), HERE)
    assert vault.open(sealed, HERE) == Secret(CANARY)
    assert Envelopes(vault.keys).open(sealed, HERE) == Secret(CANARY)
    assert sealed.startswith("v1.file:")
    assert CANARY not in sealed


@pytest.mark.parametrize(
    "changed", [{"customer_id": "cus_2"}, {"provider": "apollo"}, {"credential_id": "crd_2"}]
)
@pytest.mark.parametrize("warm", [True, False])
def test_in_another_row_it_does_not_open(vault: Envelopes, changed: dict[str, str], *, warm: bool) -> None:
    """Seen red with the place left out of the additional data of both the envelope and the wrapped key."""
    sealed = vault.seal(Secret(CANARY), HERE)
    if warm:
        vault.open(sealed, HERE)
    with pytest.raises(SealBroken):
        vault.open(sealed, dataclasses.replace(HERE, **changed))
    with pytest.raises(SealBroken):
        KeyFile.unwrap(vault.keys, Envelope.of(sealed).key, dataclasses.replace(HERE, **changed))  # type: ignore[arg-type]


@pytest.mark.parametrize("region", range(5), ids=PARTS)
def test_each_byte_of_each_region_counts(vault: Envelopes, region: int) -> None:
    """Seen red with the version not looked at."""
    sealed = vault.seal(Secret(CANARY), HERE)
    parts = sealed.split(".")
    spelled = region < 2
    raw = parts[region].encode() if spelled else _raw(parts[region])
    for nth in range(len(raw)):
        flipped = bytearray(raw)
        flipped[nth] ^= 1
        changed = bytes(flipped).decode() if spelled else urlsafe_b64encode(flipped).decode().rstrip("=")
        with pytest.raises(SealBroken):
            Envelopes(vault.keys).open(".".join([*parts[:region], changed, *parts[region + 1 :]]), HERE)
        with pytest.raises(SealBroken):  # also where the data key is warm
            vault.open(".".join([*parts[:region], changed, *parts[region + 1 :]]), HERE)


def test_parts_of_two_envelopes_do_not_make_one(vault: Envelopes) -> None:
    one, other = (vault.seal(Secret(f"{CANARY}-{n}"), HERE).split(".") for n in "ab")
    for region in range(2, 5):
        with pytest.raises(SealBroken):
            vault.open(".".join([*one[:region], other[region], *one[region + 1 :]]), HERE)


@pytest.mark.parametrize(
    "text",
    ["", "v1", "v2.a.b.c.d", "v1.a.b.c", "v1.a.b.c.d.e", '{"apiKey":"x"}', "v1.file:0.AA.AA.AA", "v1...."],
)
def test_what_is_no_envelope_does_not_open(vault: Envelopes, text: str) -> None:
    with pytest.raises(SealBroken):
        vault.open(text, HERE)


def test_a_second_spelling_of_the_same_bytes_is_none(vault: Envelopes) -> None:
    """Seen red with the check for the only spelling left out."""
    sealed = next(
        text
        for _ in count()
        if (text := vault.seal(Secret(CANARY), HERE)) and len(_raw(text.split(".")[4])) % 3
    )
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = sealed[:-1] + letters[letters.index(sealed[-1]) ^ 1]
    assert _raw(other.split(".")[4]) == _raw(sealed.split(".")[4])
    for text in (other, sealed + "=", sealed + "\n"):
        with pytest.raises(SealBroken):
            vault.open(text, HERE)


def test_no_two_envelopes_share_a_nonce_or_a_data_key(vault: Envelopes) -> None:
    made = [Envelope.of(vault.seal(Secret(CANARY), HERE)) for _ in range(200)]
    assert len({envelope.nonce for envelope in made}) == len({e.key.wrapped for e in made}) == 200


def test_a_refusal_holds_no_secret(vault: Envelopes, file: KeyFile) -> None:
    sealed = vault.seal(Secret(CANARY), HERE)
    vault.open(sealed, HERE)
    with pytest.raises(SealBroken) as refused:
        vault.open(sealed[:-6] + "AAAAAA", HERE)
    shown = all_that_shows(refused.value)
    keys = json.loads(file.path.read_text())["keys"].values()
    assert CANARY not in shown
    assert not any(key in shown for key in keys)
    assert CANARY not in repr(vault)


@dataclasses.dataclass(slots=True)
class Counted:
    """A wrapper that counts what it is asked."""

    inner: KeyFile
    unwrapped: int = 0

    def current(self) -> str:
        return self.inner.current()

    def new_data_key(self, place: Place) -> DataKey:
        return self.inner.new_data_key(place)

    def unwrap(self, stored: WrappedKey, place: Place) -> bytes:
        self.unwrapped += 1
        return self.inner.unwrap(stored, place)

    def rewrap(self, stored: WrappedKey, place: Place) -> WrappedKey:
        return self.inner.rewrap(stored, place)


def test_a_warm_data_key_serves_for_a_time_and_only_so_many_are_kept(file: KeyFile) -> None:
    now = [0.0]
    keys = Counted(file)
    vault = Envelopes(keys, clock=lambda: now[0])
    sealed = vault.seal(Secret(CANARY), HERE)
    for _ in range(3):
        vault.open(sealed, HERE)
    assert keys.unwrapped == 1
    now[0] = LONGEST_WARM
    vault.open(sealed, HERE)
    assert keys.unwrapped == 2
    for number in range(MOST_WARM + 20):
        place = Place("cus_1", "openai", f"crd_{number}")
        vault.open(vault.seal(Secret(CANARY), place), place)
    assert len(vault._warm) == MOST_WARM


# The key file


def test_the_file_is_its_owners_alone_from_its_first_moment(file: KeyFile, vault: Envelopes) -> None:
    old = os.umask(0)
    try:
        vault.seal(Secret(CANARY), HERE)
    finally:
        os.umask(old)
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.path.parent.iterdir()] == ["vault.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_file_that_others_may_touch_is_refused(file: KeyFile, vault: Envelopes, mode: int) -> None:
    """Seen red with the mode not looked at."""
    sealed = vault.seal(Secret(CANARY), HERE)
    file.path.chmod(mode)
    with pytest.raises(Unavailable, match="0600"):
        Envelopes(KeyFile(file.path)).open(sealed, HERE)
    file.path.chmod(0o600)
    assert vault.open(sealed, HERE) == Secret(CANARY)


def test_a_link_a_torn_file_and_a_missing_one_are_refused(tmp_path: Path, file: KeyFile) -> None:
    sealed = Envelopes(file).seal(Secret(CANARY), HERE)
    link = tmp_path / "link.key"
    link.symlink_to(file.path)
    torn = tmp_path / "torn.key"
    torn.write_bytes(file.path.read_bytes()[:40])
    torn.chmod(0o600)
    for path in (link, torn, tmp_path / "missing.key"):
        with pytest.raises(Unavailable):
            Envelopes(KeyFile(path)).open(sealed, HERE)
    assert not (tmp_path / "missing.key").exists(), "opening makes no key"


def test_of_two_that_make_the_file_at_once_one_wins(tmp_path: Path) -> None:
    for turn in range(20):
        path, ready, sealed = tmp_path / f"{turn}.key", threading.Barrier(4), list[str]()

        def seal(path: Path = path, ready: threading.Barrier = ready, sealed: list[str] = sealed) -> None:
            ready.wait()
            sealed.append(Envelopes(KeyFile(path)).seal(Secret(CANARY), HERE))

        threads = [threading.Thread(target=seal) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [Envelopes(KeyFile(path)).open(text, HERE) for text in sealed] == [Secret(CANARY)] * 4


def test_a_new_key_leaves_the_older_ones_and_other_processes_see_it(file: KeyFile, vault: Envelopes) -> None:
    sealed = vault.seal(Secret(CANARY), HERE)
    elsewhere = KeyFile(file.path)
    new = elsewhere.add_key()
    assert vault.current() == new
    assert vault.open(sealed, HERE) == Secret(CANARY)
    again = vault.rewrap(sealed, HERE)
    assert Envelope.of(again).key.key_id == new != Envelope.of(sealed).key.key_id
    assert Envelope.of(again).ciphertext == Envelope.of(sealed).ciphertext
    assert vault.open(again, HERE) == Secret(CANARY)
    assert vault.rewrap(again, HERE) == again
    with pytest.raises(SealBroken):
        vault.rewrap(sealed, dataclasses.replace(HERE, customer_id="cus_2"))


@pytest.fixture
def environ() -> dict[str, str]:
    return {
        "DATABASE_URL": "x",
        "DATABASE_SYSTEM_URL": "x",
        "OIDC_ISSUER": "x",
        "OIDC_JWKS_URL": "x",
        "OIDC_CLIENT_ID": "x",
    }


def test_the_key_file_is_refused_off_this_machine(environ: dict[str, str]) -> None:
    """Seen red with the stage not looked at."""
    file = {"VAULT": "keyfile", "VAULT_KEY_FILE": "/x"}
    assert Settings.from_environ({**environ, **file, "STAGE": "local"}).vault == "keyfile"
    with pytest.raises(MissingSetting, match="local only"):
        Settings.from_environ({**environ, **file, "STAGE": "prod"})
    with pytest.raises(MissingSetting, match="VAULT_KEY_FILE"):
        Settings.from_environ({**environ, "VAULT": "keyfile"})
    with pytest.raises(MissingSetting, match="VAULT knows"):
        Settings.from_environ({**environ, "VAULT": "clear"})


def _raw(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
