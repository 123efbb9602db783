"""What is hidden of arguments, error texts and results before it leaves its process."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import progress
from progress import redaction
from progress.options import Options
from progress.outcome import outcome
from progress.reasons import Expired
from progress.redaction import HIDDEN, looks_secret, redact

SECRET = "planted-3f9c1d"
JOB = "tasks.sign_in"
SHOWN = Options(show_error=True, show_result=True)

SECRET_NAMES = [
    *("password", "PASSWORD", "Password2", "db_password", "dbPassword", "dbpassword", "passwd", "passphrase", "pwd"),
    *("api_key", "apiKey", "APIKey", "apikey", "X-Api-Key", "api-keys", "private_key", "privateKey", "secret_key"),
    *("token", "access_token", "accessToken", "csrftoken", "jwt", "bearer", "auth", "auth_header", "oauth2"),
    *("authorization", "credential", "credentials", "aws_credentials", "secret", "clientSecret", "cookie", "cookies"),
    *("session_id", "sessionid", "session_key", "signature", "ssh_key", "smtp_pass", "signing_key", "otp"),
]
PLAIN_NAMES = [
    *("author", "authors", "authority", "monkey", "keyboard", "key", "keys", "keyword", "secretary", "tokenizer"),
    *("passenger", "compass", "pass_number", "rows", "file", "customer_id", "session", "design", "cookiecutter", ""),
    *("foreign_key", "primary_key", "keynote", "apis", "passwordless"),
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_name_that_looks_secret_hides_its_argument(name: str) -> None:
    """Whatever its spelling: words, capitals, signs, digits."""
    assert redact(JOB, "argument", name, SECRET) is HIDDEN


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_a_name_that_only_resembles_one_hides_nothing(name: str) -> None:
    """What is hidden for nothing has to be typed again when a task is re-run."""
    assert redact(JOB, "argument", name, "plain") == "plain"


HOLDERS: dict[str, Any] = {
    "dict": {"password": SECRET},
    "dict in dict": {"database": {"password": SECRET}},
    "list of dicts": [{"name": "a"}, {"name": "b", "token": SECRET}],
    "tuple in dict": {"hosts": ({"api_key": SECRET},)},
    "key that is no text": {b"password": SECRET},
    "deep": {"a": [{"b": [{"c": ({"secret": SECRET},)}]}]},
}


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS)
def test_a_secret_anywhere_in_a_value_hides_the_value(holder: Any) -> None:
    """As a whole: half a dict would be pre-filled in the form that runs the task again."""
    assert redact(JOB, "argument", "options", holder) is HIDDEN
    assert redact(JOB, "result", "", holder) is HIDDEN
    assert SECRET not in str(outcome(SHOWN, task=JOB, result=holder))


def test_what_cannot_be_looked_through_is_hidden() -> None:
    """A value that contains itself, is too deep or has too many parts is hidden, and soon."""
    endless: list[Any] = []
    endless.append(endless)
    deep: Any = SECRET
    for _ in range(redaction.MAX_DEPTH + 1):
        deep = [deep]
    many = [{"n": n} for n in range(redaction.MAX_CONTAINERS)]
    assert [redact(JOB, "argument", "rows", each) for each in (endless, deep, many)] == [HIDDEN] * 3


def test_a_long_list_of_numbers_is_no_secret() -> None:
    """Only what contains something is counted."""
    numbers = list(range(100_000))
    assert redact(JOB, "argument", "ids", numbers) is numbers


def test_default_leaves_error_texts_as_they_are() -> None:
    """They are for permitted staff; what they hold by accident only the site can know."""
    assert redact(JOB, "error", "ValueError", "no such file") == "no such file"


def hide_everything(task: str, what: str, name: str, value: Any) -> Any:
    return HIDDEN


def raise_with_value(task: str, what: str, name: str, value: Any) -> Any:
    raise ValueError(f"cannot decide on {value}")


def first_letter(task: str, what: str, name: str, value: Any) -> Any:
    return f"{task} {what} {name} {value[0]}"


def test_a_site_decides_for_itself(settings: Any) -> None:
    """`PROGRESS_REDACT` is given task, what, name and value; its answer counts, for what the default hides too."""
    settings.PROGRESS_REDACT = first_letter
    assert redact(JOB, "argument", "password", "xyz") == "tasks.sign_in argument password x"
    settings.PROGRESS_REDACT = "tests.unit.test_redaction.hide_everything"
    assert redact(JOB, "argument", "rows", 3) is HIDDEN


def test_a_hidden_error_keeps_its_type_alone(settings: Any) -> None:
    """Readers see that there was one and of which type, its message is "hidden"; in both views."""
    settings.PROGRESS_REDACT = hide_everything
    told = outcome(SHOWN, task=JOB, error=ValueError(SECRET))
    assert told == dict.fromkeys(("outcome", "outcome_staff"), '"error":{"type":"ValueError","message":"hidden"}')


def test_a_hidden_result_is_left_out(settings: Any) -> None:
    """As if the task showed none."""
    settings.PROGRESS_REDACT = hide_everything
    assert outcome(SHOWN, task=JOB, result={"rows": 3}) == {"outcome": "", "outcome_staff": ""}


def test_what_stands_in_its_place_is_shown(settings: Any) -> None:
    """The function may shorten or replace instead of hiding."""
    settings.PROGRESS_REDACT = first_letter
    assert outcome(SHOWN, task=JOB, result="xyz")["outcome"] == '"result":"tasks.sign_in result  x"'
    assert (
        '"message":"tasks.sign_in error ValueError x"' in outcome(SHOWN, task=JOB, error=ValueError("xyz"))["outcome"]
    )


def test_our_own_reasons_are_not_hidden(settings: Any) -> None:
    """They are sentences of ours about any task, and staff need them."""
    settings.PROGRESS_REDACT = hide_everything
    assert str(Expired()) in outcome(SHOWN, task=JOB, error=Expired())["outcome_staff"]


@pytest.mark.parametrize("hook", [raise_with_value, "tests.unit.no_such_module.hook", lambda: None])
def test_a_function_that_fails_hides_and_is_logged(settings: Any, caplog: Any, hook: Any) -> None:
    """Nothing is shown by mistake, the task goes on, and the log says where it failed but not the value."""
    settings.PROGRESS_REDACT = hook
    told = outcome(SHOWN, task=JOB, error=ValueError(SECRET))
    assert '"message":"hidden"' in told["outcome_staff"]
    assert outcome(SHOWN, task=JOB, result=SECRET)["outcome"] == ""
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "PROGRESS_REDACT failed" in caplog.text
    assert JOB in caplog.text
    assert SECRET not in caplog.text


def test_a_title_holds_no_hidden_argument() -> None:
    """A title may name any argument; a hidden one reads "hidden"."""

    def sign_in(user: str, password: str) -> None: ...

    options = Options(title="{user} signs in with {password}")
    assert options.titled(sign_in, ("ann", SECRET), {}, JOB) == "ann signs in with hidden"

    def copy_rows(source: dict[str, str]) -> None: ...

    nested = Options(title="From {source[password]}")
    assert nested.titled(copy_rows, ({"password": SECRET},), {}, JOB) == "From {source[password]}"


def test_there_is_one_marker() -> None:
    """`is progress.HIDDEN` holds after copying and pickling, and it reads "hidden"."""
    assert progress.HIDDEN is HIDDEN
    assert copy.deepcopy(HIDDEN) is HIDDEN
    assert pickle.loads(pickle.dumps(HIDDEN)) is HIDDEN
    assert str(HIDDEN) == "hidden"


@given(
    st.text(),
    st.recursive(
        st.none() | st.text() | st.integers(), lambda each: st.lists(each) | st.dictionaries(st.text(), each)
    ),
)
def test_it_never_raises_and_invents_nothing(name: str, value: Any) -> None:
    """Any name and any value: the very value, or hidden."""
    assert redact(JOB, "argument", name, value) in (value, HIDDEN)
    assert looks_secret(name) in (True, False)
