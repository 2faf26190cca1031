"""What the breadth of the language needs: a function for each service's tables."""

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _shared()
    _scoring()
    _journeys()
    _mailer()


def _shared() -> None:
    pass


def _scoring() -> None:
    pass


def _journeys() -> None:
    pass


def _mailer() -> None:
    pass
