"""A stage to play journeys on, in memory: what happens is told in one line each, and what came of it is looked at."""

from datetime import datetime
from functools import cache
from typing import Any

from services.journeys.catalogue import Control, InForce
from services.journeys.dossier import Dossier, Loop, merge, react
from services.journeys.engine import TimeCame
from services.journeys.enrollment import Effect, Enrollment, Visit, message_id
from services.journeys.entering import Entered, Refused, call_by_hand
from services.journeys.loader import Journeys, load
from shared.durations import parse_duration
from shared.wire import OURSELVES, Activity, Entry, Event, Lead, Send, Withdraw, encode, replace
from tests.builders import NOON, a_lead


@cache
def journeys_of(*texts: str, zone: str = "UTC") -> Journeys:
    """The journeys written in these texts."""
    files = {f"journeys/{text.split('journey:')[1].split()[0]}.yaml": text.encode() for text in texts}
    return load(files | {"playbook.yaml": f"mail: {{timezone: {zone}}}\n".encode()}, {})


class Stage:
    """One lead, a clock, and the journeys in force."""

    def __init__(self, *texts: str, lead: Lead | None = None, zone: str = "UTC", now: datetime = NOON) -> None:
        self.in_force = InForce("v1", {}, {"v1": journeys_of(*texts, zone=zone)})
        self.lead = lead or a_lead()
        self.now = now
        self.sequence = 0
        self.dossier = Dossier(self.lead.id)
        self.effects: list[Effect | Loop] = []

    def becomes(self, **changes: Any) -> None:
        """From the next event on the lead is so."""
        self.lead = replace(self.lead, **changes)

    def happens(
        self, name: str, *, ago: str = "0s", late: bool = False, depth: int = 0, sequence: int | None = None, **properties: Any
    ) -> Event:
        """An event of the lead arrives; it happened `ago`."""
        self.sequence = sequence or self.sequence + 1
        event = Event(
            id=f"{self.lead.id}.{self.sequence}",
            type="track",
            name=name,
            at=self.now - parse_duration(ago),
            received_at=self.now,
            source=OURSELVES if name.startswith(("Email", "Handoff", "Lead")) else "pk_test",
            properties=properties,
            depth=depth,
        )
        self.arrives(Activity(sequence=self.sequence, event=event, lead=self.lead, late=late))
        return event

    def arrives(self, activity: Activity) -> None:
        """An activity is handled as the consumer does."""
        if not self.dossier.see(activity.sequence, encode(activity.lead)):
            return
        if activity.event.name in self.in_force.newest.watched:
            self.dossier.remember(activity.event, activity.sequence, late=activity.late)
        starters = self.in_force.starters(activity.event.name)
        self.effects += react(self.dossier, activity, self.in_force.find, starters, self.now)

    def passes(self, duration: str) -> None:
        """Time passes, and every wake-up within it comes at its moment."""
        until = self.now + parse_duration(duration)
        while (due := self.next_due(until)) < until:
            self.now = max(self.now, due)
            self.wake()
        self.now = until
        self.wake()

    def next_due(self, until: datetime) -> datetime:
        held = self.in_force.held()
        return min((one.wake_at for one in self.walks if one.wake_at and one.journey not in held), default=until)

    def wake(self) -> None:
        """Whatever is due now is woken, as the scheduler does."""
        held = self.in_force.held()
        for enrollment in list(self.dossier.open.values()):
            if enrollment.wake_at is not None and enrollment.wake_at <= self.now and enrollment.journey not in held:
                journey = self.in_force.find(enrollment.version, enrollment.journey)
                assert journey is not None
                self.effects += self.dossier.move(journey, enrollment, TimeCame(), self.now)

    def settles(self, name: str = "Email Sent", **properties: Any) -> None:
        """The mailer says how the mail under way went."""
        enrollment = next(one for one in self.dossier.open.values() if one.message is not None)
        self.happens(name, enrollment_id=enrollment.id, transition=enrollment.message, **properties)

    def answers(self, name: str, **properties: Any) -> None:
        """Sales answers the hand-off that a walk waits for."""
        enrollment = next(one for one in self.dossier.open.values() if one.awaits is not None)
        self.happens(name, enrollment_id=enrollment.id, transition=enrollment.awaits, **properties)

    def asks(self, journey: str, key: str | None = None, **properties: Any) -> Entered | Refused:
        """Somebody enrolls the lead over the API."""
        found = self.in_force.find(self.in_force.version, journey)
        assert found is not None
        assert self.dossier.known is not None
        entry = Entry(at=self.now, event_id=f"api.{len(self.effects)}", properties=properties)
        call = call_by_hand(found, entry, key, self.dossier.known, self.now)
        if isinstance(call, Refused):
            return call
        outcome = self.dossier.admit(found, call, self.now)
        if isinstance(outcome, Entered):
            self.effects += outcome.effects
        return outcome

    def sets_status(self, **statuses: Any) -> None:
        """From now on these journeys have another status."""
        controls = {name: Control(status, self.in_force.said_of(name)) for name, status in statuses.items()}
        loaded = {self.in_force.version: self.in_force.newest}
        self.in_force = InForce(self.in_force.version, controls, loaded)

    def merges(self, other: "Stage") -> None:
        """The other stage's lead becomes part of this one."""
        self.effects += merge(self.dossier, other.dossier, self.in_force.find, self.now)

    @property
    def sent(self) -> list[str]:
        """The templates and endpoints asked for, in order."""
        return [effect.template or effect.endpoint for effect in self.effects if isinstance(effect, Send)]

    @property
    def messages(self) -> list[Send]:
        return [effect for effect in self.effects if isinstance(effect, Send)]

    @property
    def updates(self) -> list[Event]:
        """What was said of the lead, in order."""
        return [effect for effect in self.effects if isinstance(effect, Event)]

    @property
    def withdrawn(self) -> dict[str, str]:
        """Reasons by the template of the message taken back."""
        templates = {message.id: message.template for message in self.messages}
        return {templates[effect.id]: effect.reason for effect in self.effects if isinstance(effect, Withdraw)}

    @property
    def visits(self) -> list[tuple[str, str, str]]:
        """Step, outcome and reason, in order."""
        return [(effect.step, effect.outcome, effect.reason) for effect in self.effects if isinstance(effect, Visit)]

    @property
    def loops(self) -> list[str]:
        return [effect.journey for effect in self.effects if isinstance(effect, Loop)]

    @property
    def walks(self) -> list[Enrollment]:
        """Every enrollment, the oldest first."""
        return list(self.dossier.open.values())

    @property
    def walk(self) -> Enrollment:
        """The only enrollment."""
        (found,) = self.dossier.open.values()
        return found

    @property
    def ended(self) -> dict[str, str | None]:
        """Reasons of the walks that have ended, by journey."""
        return {one.journey: one.reason for one in self.walks if not one.active}


def pending(enrollment: Enrollment) -> str:
    """The id of the message under way."""
    assert enrollment.message is not None
    return message_id(enrollment.id, enrollment.message)


def later(duration: str, than: datetime = NOON) -> datetime:
    return than + parse_duration(duration)
