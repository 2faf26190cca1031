"""What the mailer's keys of playbook.yaml look like. What each means, and what cannot be, is loader.py's."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from services.mailer.working_hours import ClockTime, WorkingHoursForm
from shared.yaml import Duration, Shape

WhenInDoubt = Literal["hold", "retry"]
OnHit = Literal["defer", "skip"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def _above_zero(duration: Any) -> Any:
    if not duration:
        raise ValueError("a duration above zero is needed here, such as `20h`")
    return duration


Stretch = Annotated[Duration, AfterValidator(_above_zero)]


class BrandForm(Shape):
    name: str | None = None
    url: str | None = None
    address: str | None = None
    logo: str | None = None


class InDoubtForm(Shape):
    marketing: WhenInDoubt = "hold"
    transactional: WhenInDoubt = "retry"


class QuietHoursForm(Shape):
    """`from` and `to` stand together; `days` are quiet from midnight to midnight."""

    start: Annotated[ClockTime | None, Field(alias="from")] = None
    end: Annotated[ClockTime | None, Field(alias="to")] = None
    days: list[Weekday] = Field(default_factory=list)
    on_hit: OnHit = "defer"


class CapForm(Shape):
    messages: Annotated[int, Field(ge=1, le=1000)]
    per: Stretch
    on_hit: OnHit = "skip"


PerSecond = Annotated[float, Field(ge=0.01, le=10_000)]


class RateForm(Shape):
    """Mails a second: in all, and to a domain."""

    per_second: PerSecond | None = None
    per_domain: dict[str, PerSecond] = Field(default_factory=dict)


class MailForm(Shape):
    sender: Annotated[str, Field(alias="from")]
    reply_to: str | None = None
    timezone: str = "UTC"
    locale: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*$")] = "en"
    in_doubt: InDoubtForm = InDoubtForm()
    quiet_hours: QuietHoursForm | None = None
    frequency_cap: Annotated[list[CapForm], Field(max_length=10)] = Field(default_factory=list)
    rate: RateForm | None = None
    warm_up: bool = False


class EndpointForm(Shape):
    url: str
    secret: str | Annotated[list[str], Field(min_length=1, max_length=2)]


class ConfirmationsForm(Shape):
    """How often a browser's word may make us write to an address: once in `per_address`, and `per_hour` in all."""

    per_address: Stretch = timedelta(days=7)
    per_hour: Annotated[int, Field(ge=0, le=1_000_000)] = 500


class ConsentForm(Shape):
    """The events by which a reader asks for mail, and whether a browser's word for one is enough."""

    events: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    from_browser: Literal["double_opt_in", "single"] = "double_opt_in"
    confirmations: ConfirmationsForm = ConfirmationsForm()


class PlaybookForm(Shape):
    """The keys of playbook.yaml that are the mailer's; the others belong to other services."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    name: str = ""
    brand: BrandForm = BrandForm()
    mail: MailForm
    topics: dict[str, str] = Field(default_factory=dict)
    endpoints: dict[str, EndpointForm] = Field(default_factory=dict)
    consent: ConsentForm = ConsentForm()
    working_hours: WorkingHoursForm | None = None
