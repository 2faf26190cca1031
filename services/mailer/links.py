"""The addresses that stand in a mail and lead back to us. A token names a delivery; where a link leads is looked up, never read from it."""

from uuid import UUID

from shared.signing import Signer

_CLICK, _UNSUBSCRIBE, _OPEN, _HANDOFF = "click", "unsubscribe", "open", "handoff"
_PREFERENCES, _CONFIRM = "preferences", "confirm"
_UUID_BYTES = 16


class Links:
    """Makes and reads the tokens of one installation; `public_url` is where readers reach the mailer's pages."""

    def __init__(self, signer: Signer, public_url: str) -> None:
        self._signer = signer
        self._root = public_url.rstrip("/")

    def click_url(self, delivery_id: str, index: int) -> str:
        """Leads to the delivery's link of that number, counted from 0."""
        return f"{self._root}/c/{self._signer.sign(_CLICK, index.to_bytes(2, 'big') + _packed(delivery_id))}"

    def unsubscribe_url(self, delivery_id: str) -> str:
        return f"{self._root}/u/{self._signer.sign(_UNSUBSCRIBE, _packed(delivery_id))}"

    def preferences_url(self, delivery_id: str) -> str:
        return f"{self._root}/p/{self._signer.sign(_PREFERENCES, _packed(delivery_id))}"

    def confirm_url(self, delivery_id: str) -> str:
        """Where the owner of an address says that it is his. The address stands in the delivery, not in the token."""
        return f"{self._root}/confirm/{self._signer.sign(_CONFIRM, _packed(delivery_id))}"

    def open_url(self, delivery_id: str) -> str:
        return f"{self._root}/o/{self._signer.sign(_OPEN, _packed(delivery_id))}.gif"

    def respond_url(self, delivery_id: str) -> str:
        """Where sales answers the hand-off that this webhook tells of."""
        return f"{self._root}/hooks/handoff/{self._signer.sign(_HANDOFF, _packed(delivery_id))}"

    def read_click(self, token: str) -> tuple[str, int] | None:
        """The delivery and the number of its link, or None for a token that is not ours."""
        payload = self._signer.verify(_CLICK, token)
        return (_unpacked(payload[2:]), int.from_bytes(payload[:2], "big")) if payload else None

    def read_unsubscribe(self, token: str) -> str | None:
        return self._read(_UNSUBSCRIBE, token)

    def read_preferences(self, token: str) -> str | None:
        return self._read(_PREFERENCES, token)

    def read_confirm(self, token: str) -> str | None:
        return self._read(_CONFIRM, token)

    def read_open(self, token: str) -> str | None:
        return self._read(_OPEN, token)

    def read_respond(self, token: str) -> str | None:
        return self._read(_HANDOFF, token)

    def _read(self, purpose: str, token: str) -> str | None:
        payload = self._signer.verify(purpose, token)
        return _unpacked(payload) if payload else None


def _packed(delivery_id: str) -> bytes:
    """A UUID as its 16 bytes; any other id as text behind a zero byte."""
    try:
        packed = UUID(delivery_id)
    except ValueError:
        packed = None
    return packed.bytes if packed and str(packed) == delivery_id else b"\0" + delivery_id.encode().ljust(_UUID_BYTES, b"\0")


def _unpacked(payload: bytes) -> str:
    return str(UUID(bytes=payload)) if len(payload) == _UUID_BYTES else payload.strip(b"\0").decode()
