"""Which variants are tried, in which environments, and what docs/supported.md says of it."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from project.redis_server import MINIMUM
from tests.variants import environments, plan, table
from tests.variants.environments import ROOT, NoPython, find_python, requirements
from tests.variants.plan import Environment

WAYS = {"pool": plan.POOLS, "layer": plan.LAYERS, "server": plan.SERVERS}


def test_whole_product_has_everything_with_everything() -> None:
    """256 different variants: 16 environments, four pools, two layers, two servers."""
    whole = plan.whole()
    assert len(set(whole)) == len(whole) == 16 * 4 * 2 * 2


def test_chosen_variants_have_each_value_and_each_pair_of_ways() -> None:
    """What CI runs: in each environment every pair of pool, layer and server; each version somewhere."""
    chosen = plan.pairwise()
    assert set(chosen) <= set(plan.whole())
    for environment in {one.environment for one in chosen}:
        here = [one for one in chosen if one.environment == environment]
        for one, other in itertools.combinations(WAYS, 2):
            pairs = {(getattr(variant, one), getattr(variant, other)) for variant in here}
            assert pairs == set(itertools.product(WAYS[one], WAYS[other]))
    used = {one.environment for one in chosen}
    assert {one.python for one in used} == set(plan.PYTHONS)
    assert {one.django for one in used} == set(plan.DJANGOS)
    assert {one.redis for one in used} == set(plan.REDISES)
    assert plan.LOWEST in used


def test_lowest_environment_has_the_lower_bound_of_everything_that_has_one() -> None:
    """Nothing newer hides a mistake in the ranges."""
    asked = {one.name: str(one.specifier) for one in map(Requirement, requirements(plan.LOWEST))}
    assert {"Django", "channels", "channels-redis", "redis", "celery", "rich", "daphne", "uvicorn", "gevent"} <= set(
        asked
    )
    for one in environments._asked():
        if lower := environments.lowest_of(one):
            assert f"=={lower}" in asked[one.name].split(",")


def test_other_environments_have_the_newest_of_their_lines() -> None:
    """Django and redis-py are chosen, the rest is as pyproject.toml allows."""
    asked = {one.name: one.specifier for one in map(Requirement, requirements(Environment("3.13", "6", "8")))}
    assert "6.0.1" in asked["Django"]
    assert "5.2.19" not in asked["Django"]
    assert "8.1.0" in asked["redis"]
    assert "7.4.1" not in asked["redis"]
    assert "5.7.0" in asked["celery"]


def test_missing_python_is_named_with_what_to_do(monkeypatch: Any) -> None:
    """Never a silent skip."""
    monkeypatch.setattr(environments.shutil, "which", lambda _name: None)
    with pytest.raises(NoPython, match=r"Expected a Python 3\.12, found none .* apt install python3\.12"):
        find_python("3.12")


def test_shim_that_answers_for_another_version_is_not_taken(monkeypatch: Any, tmp_path: Path) -> None:
    """A program of the right name that does not run, as pyenv leaves them, is passed over for pyenv's own folder."""

    def program(path: Path, body: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    shim = program(tmp_path / "shims" / "python3.12", "echo 'command not found' >&2; exit 127")
    real = program(tmp_path / "versions" / "bin" / "python3.12", "echo 3.12")
    pyenv = program(tmp_path / "shims" / "pyenv", f'[ "$*" = "prefix 3.12" ] && echo {real.parent.parent}')
    found = {"python3.12": str(shim), "pyenv": str(pyenv)}
    monkeypatch.setattr(environments.shutil, "which", found.get)
    assert find_python("3.12") == real


def supported() -> dict[str, str]:
    """The second column of the table of versions, by the first."""
    section = table.PAGE.read_text().partition("## Versions")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", section, re.MULTILINE)
    return {name.strip(): what.strip() for name, what in rows if not name.startswith(("what", "--"))}


def test_supported_ranges_are_those_that_are_installed() -> None:
    """docs/supported.md and pyproject.toml say the same."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    page = {name.lower(): what for name, what in supported().items()}
    groups = declared["dependency-groups"]
    asked = [
        *declared["project"]["dependencies"],
        *groups["run"],
        *(one for one in groups["dev"] if isinstance(one, str)),
    ]
    ranges = {one.name.lower(): one.specifier for one in map(Requirement, asked)}
    for line in declared["project"]["dependencies"]:
        assert Requirement(line).name.lower() in page
    for name, what in page.items():
        if name in ranges:
            assert Requirement(f"{name}{what}").specifier == ranges[name], name
    assert page["python"] == f"{declared['project']['requires-python'].removeprefix('>=')} or later"
    assert page["redis server"].startswith(f"{'.'.join(map(str, MINIMUM))} or later")


def test_table_of_the_matrix_is_that_of_a_whole_run() -> None:
    """One line for each environment, in which every variant was tried and went well."""
    text = table.PAGE.read_text().partition(table.BEGIN)[2].partition(table.END)[0]
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| 3")
    ]
    wanted = list(plan.environments())
    per_environment = str(len(plan.whole()) // len(wanted))
    assert [(line[0], line[-2], line[-1]) for line in lines] == [
        (one.python + (", the lowest" if one.lowest else ""), per_environment, per_environment)
        for one in sorted(wanted)
    ]
    for line, one in zip(lines, sorted(wanted), strict=True):
        assert line[1].startswith(one.django)
        assert line[2].startswith(one.redis)
