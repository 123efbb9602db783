"""What the page of examples shows: sections, and in each the elements with the attributes that a site would write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True)
class Example:
    """One element. `socket` is which of the replayed connections it is on; that is left out of the mark-up."""

    title: Any  # this and the note are translated when they are shown
    attributes: Mapping[str, str]
    tag: str = "task-progress"
    inside: str = ""
    socket: str = "live"
    note: Any = ""
    acts: str = ""  # what the page does to it, as a reader would: see `demo/style-guide.js`


@dataclass(frozen=True)
class Section:
    """Examples that belong together; `name` is the anchor."""

    name: str
    title: Any  # translated, as are the words about it
    about: Any
    examples: tuple[Example, ...] = field(default_factory=tuple)


def bar(title: Any, task: str, note: Any = "", *, socket: str = "live", acts: str = "", **attributes: str) -> Example:
    """A bar; names of attributes with "-" are written with "_"."""
    named = {name.replace("_", "-"): value for name, value in attributes.items()}
    return Example(title, {"task-id": task, **named}, socket=socket, note=note, acts=acts)


def tasks(title: Any, note: Any = "", *, socket: str, inside: str = "", **attributes: str) -> Example:
    """A list."""
    named = {name.replace("_", "-"): value for name, value in attributes.items()}
    return Example(title, named, "task-list", inside, socket, note)


def log(title: Any, task: str, note: Any = "", *, socket: str = "live", acts: str = "", **attributes: str) -> Example:
    """A log."""
    return Example(title, {"task-id": task, "aria-label": "Log", **attributes}, "task-log", "", socket, note, acts)


SECTIONS: Final = (
    Section(
        "waiting",
        _("Before it begins"),
        _("What is not known is not guessed: a task that waits has no percentage, and says what it waits for."),
        (
            bar(_("Waiting"), "waiting"),
            bar(_("Nobody takes tasks from its queue"), "unserved"),
            bar(_("Scheduled"), "scheduled"),
            bar(_("A later step of a chain"), "step"),
            bar(_("Cancelled before it began"), "will-not-start"),
        ),
    ),
    Section(
        "running",
        _("While it runs"),
        _("Count, rate and remaining time, as far as the task says them. Nothing shifts while the bar moves."),
        (
            bar(_("It counts"), "running"),
            bar(_("It does not know how much there is"), "unknown"),
            bar(_("Stages within stages"), "stages"),
            bar(_("It has sent parts"), "rollout", _("The work goes on in its parts; one of them has failed.")),
            bar(_("Its parts, opened"), "rollout", _("Each is a line in time."), acts="open"),
            bar(
                _("Nothing new for minutes"), "quiet", _("Silence is no death: its worker still gives signs of life.")
            ),
            bar(_("Second delivery of one message"), "again"),
            bar(_("Second attempt"), "second-attempt"),
        ),
    ),
    Section(
        "stopping",
        _("Between two attempts, and while it stops"),
        _("“Cancelling” is a wish; “cancelled” is said when the body has stopped."),
        (
            bar(_("It will be tried again"), "retrying"),
            bar(_("Before it is asked to stop"), "running", _("“Cancel” asks first; press it.")),
            bar(_("The wish could not be sent"), "running", socket="unsent", acts="cancel", confirm="no"),
            bar(_("It was asked to stop"), "cancelling"),
        ),
    ),
    Section(
        "ends",
        _("Ends"),
        _("Results and errors are shown where the task allows it."),
        (
            bar(_("Done, with a result"), "done"),
            bar(_("Done, in stages"), "stages-done", _("How the time went by.")),
            bar(_("Failed, with its error"), "failed"),
            bar(_("Cancelled"), "cancelled"),
            bar(_("Expired"), "expired"),
            bar(_("Ignored"), "ignored"),
            bar(_("Rejected"), "rejected"),
            bar(_("Lost"), "lost", _("Presumed, when nobody has heard of it. The next sign of life takes it back.")),
            bar(_("Interrupted"), "interrupted", _("Its worker said so before it left.")),
        ),
    ),
    Section(
        "connection",
        _("The connection"),
        _("A page that hears nothing says how old is what it shows. It comes back by itself."),
        (
            bar(_("Connecting, with what the server rendered"), "running", socket="connecting", snapshot="running"),
            bar(_("Stale: the server is silent"), "running", socket="stale"),
            bar(_("Offline"), "running", socket="offline"),
            bar(_("Refused: the session has ended"), "running", socket="refused"),
            bar(_("No such task, or not yours"), "nobody-knows"),
            bar(_("Nothing known yet"), "running", socket="connecting-anew"),
        ),
    ),
    Section(
        "attributes",
        _("Attributes"),
        _("What a bar can do besides. Each is an attribute; the reference has them all."),
        (
            bar(_("A heading that leads to the page of the run"), "running", heading="4", href="#attributes"),
            bar(_("Compact"), "running", compact="", href="#attributes"),
            bar(_("Compact, failed"), "failed", compact="", href="#attributes"),
            bar(_("Compact, offline"), "running", socket="offline", compact=""),
            bar(
                _("With a notice at the end"),
                "running",
                _("The button asks the browser for leave."),
                notify="title badge desktop",
            ),
        ),
    ),
    Section(
        "texts",
        _("Texts of all kinds"),
        _("Long ones are cut where they do not fit and stand in full in the tool tip; each keeps its own direction."),
        (bar(_("Long"), "long"), bar(_("From right to left"), "rtl"), bar(_("Huge numbers"), "huge")),
    ),
    Section(
        "list",
        _("Lists"),
        _("One's own tasks, a workflow, or some that are named. New ones appear by themselves, the newest first."),
        (
            tasks(_("My jobs"), socket="few", label="My jobs", href="#list"),
            tasks(_("A workflow, with one bar for the whole"), socket="live", tree="rollout", label="Install nginx"),
            tasks(
                _("By their ids, with a total"), socket="live", ids="running done failed", total="", label="Imports"
            ),
            tasks(_("Empty"), socket="none", inside='<p slot="empty">None yet. What you start appears here.</p>'),
            tasks(
                _("Five hundred"),
                _("What is off the screen costs next to nothing. A box that scrolls can be reached by the keyboard."),
                socket="many",
                limit="500",
                role="group",
                aria_label="All jobs",
                tabindex="0",
            ),
        ),
    ),
    Section(
        "log",
        _("Logs"),
        _(
            "Lines are text of the page, to be selected and searched. "
            "A log follows its end until somebody scrolls up."
        ),
        (
            log(_("Lines"), "log"),
            log(_("Scrolled up, while lines come"), "log", socket="paused"),
            log(_("Warnings and errors only"), "log", level="WARNING"),
            log(_("Older lines are gone"), "long-log", acts="top"),
            log(_("None yet"), "running"),
            log(_("Not for this viewer"), "done", socket="stranger"),
            log(_("Connection lost"), "log", socket="offline"),
        ),
    ),
)
