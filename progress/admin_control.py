"""Staff ask runs to stop: one or many, with a page that asks first and a message that says what became of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import translation
from django.utils.translation import gettext, gettext_lazy, gettext_noop, ngettext

from . import control
from .admin_pages import RunPages
from .admin_runs import Seen, may, with_records
from .control import Decision
from .exceptions import StoreUnavailable
from .models import TaskRun
from .owners import owner_id

MANY: Final = 200  # runs that one action takes
PATIENCE: Final = 10.0  # seconds for all of them; a worker or a Redis that does not answer takes a second each
NAMED: Final = 3  # runs that a message names
AWAY: Final = Decision(code="unavailable", detail=gettext_noop("Redis does not answer. Try again."))
UNASKED: Final = Decision(
    code="unavailable", detail=gettext_noop("Too many workers did not answer. Try again with the rest.")
)

Became = str | Callable[[int], str]  # what became of so many runs, after "2 runs" or "1 run"
SAID: Final[Mapping[Decision, Callable[[int], str]]] = {
    control.CANCEL: lambda n: ngettext("was asked to stop", "were asked to stop", n),
    control.TERMINATE: lambda n: ngettext("is ended by force", "are ended by force", n),
    control.ENDED: lambda n: ngettext("had ended", "had ended", n),
    control.NOT_ALLOWED: lambda n: ngettext("may not be cancelled by you", "may not be cancelled by you", n),
    control.UNCANCELLABLE: lambda n: ngettext(
        "cannot be cancelled, its task says", "cannot be cancelled, their tasks say", n
    ),
    control.NOT_FOUND: lambda n: ngettext("is not known to Redis any more", "are not known to Redis any more", n),
    control.UNABLE: lambda n: ngettext(
        "cannot be ended by force in its pool", "cannot be ended by force in their pools", n
    ),
    control.GONE: lambda n: ngettext("had nothing left to end", "had nothing left to end", n),
    control.SILENT: lambda n: ngettext("got no answer from its worker", "got no answer from their workers", n),
    control.NAMELESS: lambda n: ngettext(
        "is known by a hash of its id only", "are known by hashes of their ids only", n
    ),
    AWAY: lambda n: ngettext("was not asked, Redis does not answer", "were not asked, Redis does not answer", n),
    UNASKED: lambda n: ngettext("was not asked in time", "were not asked in time", n),
}
# What the page that asks first says of a run.
FORESEEN: Final[Mapping[Decision, Any]] = {
    control.CANCEL: gettext_lazy("will be asked to stop"),
    control.TERMINATE: gettext_lazy("will be ended by force"),
}


class ControlPages(RunPages):
    """Cancel and end by force: from a run's page, and as actions for many."""

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask one run to stop."""
        return self._stop_one(request, object_id, terminate=False)

    def terminate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """End one run by force, if it was asked to stop before."""
        return self._stop_one(request, object_id, terminate=True)

    @admin.action(description=gettext_lazy("Cancel selected runs"), permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[TaskRun]) -> HttpResponse | None:
        """Ask many runs to stop."""
        return self._stop_many(request, queryset, terminate=False)

    @admin.action(description=gettext_lazy("End selected runs by force"), permissions=["cancel"])
    def terminate_selected(self, request: HttpRequest, queryset: QuerySet[TaskRun]) -> HttpResponse | None:
        """End many runs by force; those that were not asked before are asked."""
        return self._stop_many(request, queryset, terminate=True)

    def _stop_one(self, request: HttpRequest, object_id: str, *, terminate: bool) -> HttpResponse:
        seen = self.seen_or_404(request, object_id)
        back = self.run_link(seen)
        if request.method == "POST":
            done = self._stop(request, seen, terminate=terminate)
            level = messages.SUCCESS if done.action else messages.WARNING
            said = gettext("“%(run)s” %(became)s.") % {"run": seen.row, "became": SAID[done](1)}
            self.message_user(
                request, f"{said} {translation.gettext(done.detail) if done.detail else ''}".strip(), level
            )
            return HttpResponseRedirect(back)
        context = self._question([seen], request, terminate=terminate, back=back)
        return self.page(request, "confirm", context)

    def _stop_many(
        self, request: HttpRequest, queryset: QuerySet[TaskRun], *, terminate: bool
    ) -> HttpResponse | None:
        chosen = self.chosen(queryset)
        if not request.POST.get("post"):
            action = "terminate_selected" if terminate else "cancel_selected"
            context = self._question(chosen, request, terminate=terminate, back=request.get_full_path())
            return self.page(request, "confirm", {**context, **self.again(action, chosen)})
        until = time.monotonic() + PATIENCE
        done = []
        for seen in chosen:
            in_time = time.monotonic() < until
            done.append((self._stop(request, seen, terminate=terminate) if in_time else UNASKED, seen))
        self.tell(request, [(SAID[decision], seen.row) for decision, seen in done], all(d.action for d, _ in done))
        return None

    def _stop(self, request: HttpRequest, seen: Seen, *, terminate: bool) -> Decision:
        decision = self._decision(request, seen, terminate=terminate)
        if not decision.action:
            return decision
        try:
            done = control.carry_out(decision, seen.row.task_id, seen.record, owner_id(request.user))
        except StoreUnavailable:
            return AWAY
        if done.action:
            said = "Ended by force" if done is control.TERMINATE else "Asked to stop"
            self.note(request, seen.row, CHANGE, said)
        return done

    def _decision(self, request: HttpRequest, seen: Seen, *, terminate: bool) -> Decision:
        if seen.record is None:
            if not seen.reached:
                return AWAY
            return control.ENDED if seen.row.final else control.NOT_FOUND
        actions = [each for each in ("watch", "cancel", "terminate") if may(request.user, each, seen)]
        return control.decide(seen.record, frozenset(actions), terminate=terminate)

    def _question(
        self, chosen: Sequence[Seen], request: HttpRequest, *, terminate: bool, back: str
    ) -> dict[str, Any]:
        foreseen = [(seen, self._decision(request, seen, terminate=terminate)) for seen in chosen]
        verb = gettext("End by force") if terminate else gettext("Cancel")
        return {
            "title": self.about(verb, chosen),
            "explanation": _BY_FORCE if terminate else _ASKED,
            "runs": [
                (seen.row, self.run_link(seen), FORESEEN.get(decision) or SAID[decision](1), bool(decision.action))
                for seen, decision in foreseen
            ],
            "possible": any(decision.action for _, decision in foreseen),
            "button": verb,
            "back": back,
        }

    # --- What every action for many needs

    def about(self, verb: str, chosen: Sequence[Seen]) -> str:
        """The title of a page that asks first: what is to be done, and with which run, or how many."""
        values = {"verb": verb, "run": chosen[0].row, "count": len(chosen)}
        if len(chosen) == 1:
            return gettext("%(verb)s: %(run)s") % values
        return gettext("%(verb)s: %(count)s runs") % values

    def chosen(self, queryset: QuerySet[TaskRun]) -> list[Seen]:
        """The runs that an action was chosen for, with their live records."""
        return with_records(list(queryset.defer(None)[:MANY]))

    def again(self, action: str, chosen: Iterable[Seen]) -> dict[str, Any]:
        """What the page that asks first must send to be understood as the answer."""
        return {"action": action, "checkbox": ACTION_CHECKBOX_NAME, "ids": [seen.row.pk for seen in chosen]}

    def tell(self, request: HttpRequest, done: Sequence[tuple[Became, TaskRun]], succeeded: bool) -> None:
        """One message: "3 runs were asked to stop. 1 run had ended: Export of orders."""
        became: dict[Became, list[TaskRun]] = {}
        for words, row in done:
            became.setdefault(words, []).append(row)
        said = " ".join(_of_several(words, rows) for words, rows in became.items())
        self.message_user(request, said, messages.SUCCESS if succeeded else messages.WARNING)


def _of_several(became: Became, rows: Sequence[TaskRun]) -> str:
    count = len(rows)
    named = gettext(", ").join(str(row) for row in rows[:NAMED])
    if count > NAMED:
        named = gettext("%(named)s and %(count)s more") % {"named": named, "count": count - NAMED}
    words = became if isinstance(became, str) else became(count)
    sentence = ngettext("%(count)s run %(became)s: %(named)s.", "%(count)s runs %(became)s: %(named)s.", count)
    return sentence % {"count": count, "became": words, "named": named}


_ASKED: Final = gettext_lazy(
    "To cancel is to ask: a run stops when it next reports, and is shown as cancelled when its worker says "
    "that it has stopped. What has not begun will not start."
)
_BY_FORCE: Final = gettext_lazy(
    "The worker ends the run where it is, and nothing of it is tidied up. A run that was not asked to stop before is "
    "asked now; do this once more to end it by force."
)
