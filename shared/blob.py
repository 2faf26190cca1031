"""How bytes are stored: as they are. SQLAlchemy's own type copies every value on its way out, which a busy batch feels."""

from typing import Any

from sqlalchemy import LargeBinary
from sqlalchemy.engine import Dialect


class Blob(LargeBinary):
    """Bytes in code, bytes in the table; both drivers give and take them so."""

    def bind_processor(self, dialect: Dialect) -> None:
        return None

    def result_processor(self, dialect: Dialect, coltype: Any) -> None:
        return None
