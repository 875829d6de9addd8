"""Data keys wrapped by AWS KMS. The row is the encryption context, which KMS checks and writes to its log."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeVar

from chalicelib.domain.errors import Unavailable
from chalicelib.domain.secrets import DataKey, Place, SealBroken, WrappedKey
from chalicelib.integrations.aws.session import client
from chalicelib.settings import Settings

T = TypeVar("T")

RETRY_AFTER: Final = timedelta(seconds=30)

_NOT_OURS: Final = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
"""KMS was asked, and says that the wrapped key is of another context, another key, or changed."""


@dataclass(slots=True)
class KmsKeys:
    """Implements KeyWrapper with the key that the settings name, by id, ARN or alias."""

    settings: Settings
    _current: str | None = field(default=None, init=False)

    def current(self) -> str:
        """The key's ARN. An alias is looked up once: a function that is warm when it moves goes on with the former."""
        if self._current is None:
            told = self._ask(lambda kms: kms.describe_key(KeyId=self.settings.vault_kms_key_id))
            self._current = str(told["KeyMetadata"]["Arn"])
        return self._current

    def new_data_key(self, place: Place) -> DataKey:
        told = _Told(
            self._ask(
                lambda kms: kms.generate_data_key(
                    KeyId=self.settings.vault_kms_key_id,
                    KeySpec="AES_256",
                    EncryptionContext=place.as_context(),
                )
            )
        )
        return DataKey(
            told.answer["Plaintext"], WrappedKey(told.answer["KeyId"], told.answer["CiphertextBlob"])
        )

    def unwrap(self, stored: WrappedKey, place: Place) -> bytes:
        plain: bytes = self._ask(
            lambda kms: kms.decrypt(
                CiphertextBlob=stored.wrapped, KeyId=stored.key_id, EncryptionContext=place.as_context()
            )["Plaintext"]
        )
        return plain

    def rewrap(self, stored: WrappedKey, place: Place) -> WrappedKey:
        told = self._ask(
            lambda kms: kms.re_encrypt(
                CiphertextBlob=stored.wrapped,
                SourceKeyId=stored.key_id,
                SourceEncryptionContext=place.as_context(),
                DestinationKeyId=self.current(),
                DestinationEncryptionContext=place.as_context(),
            )
        )
        return WrappedKey(self.current(), told["CiphertextBlob"])

    def _ask(self, call: Callable[[Any], T]) -> T:
        import botocore.exceptions  # noqa: PLC0415 - boto3's, imported only where AWS is called

        failure: Exception
        try:
            return call(client("kms", self.settings))
        except botocore.exceptions.ClientError as error:
            code = error.response.get("Error", {}).get("Code", "unknown")
            failure = SealBroken("changed, or of another row") if code in _NOT_OURS else _out(code)
        except (botocore.exceptions.BotoCoreError, OSError):
            failure = _out("no answer")
        raise failure


@dataclass(frozen=True, slots=True)
class _Told:
    answer: Any = field(repr=False)


def _out(reason: str) -> Unavailable:
    return Unavailable(
        f"The service that guards API keys is out just now ({reason}). Try again in a moment.",
        code="vault_unavailable",
        retry_after=RETRY_AFTER,
    )
