"""A node is refused for each single setting that differs, by the setting's name, and for none that only looks different."""

import pytest

from adapters.audit import AUDIT, REQUIRED, SettingRefused, check

NUMBERS = {name for name, value in REQUIRED.items() if value.isdigit()}
"""MySQL gives these as numbers, the others as texts."""


def row(**changes: object) -> tuple[object, ...]:
    """What a server in order answers to AUDIT, but for `changes`."""
    values: dict[str, object] = {name: int(value) if name in NUMBERS else value for name, value in REQUIRED.items()}
    values |= {"version": "9.7.4", "sysdate_is_now": 1}
    return tuple((values | changes).values())


def test_a_server_in_order_passes() -> None:
    check(row())


def test_the_audit_asks_for_every_setting_in_the_order_in_which_it_is_checked() -> None:
    places = [AUDIT.index(f"@@GLOBAL.{name}") for name in REQUIRED]
    assert places == sorted(places)
    assert AUDIT.endswith(", VERSION(), SYSDATE() = NOW()")
    assert len(row()) == AUDIT.count(",") + 1


@pytest.mark.parametrize("name", REQUIRED)
def test_each_setting_that_differs_is_refused_by_its_name_and_both_values(name: str) -> None:
    for wrong in (2 if name in NUMBERS else "SOMETHING", "", None):
        with pytest.raises(SettingRefused) as refused:
            check(row(**{name: wrong}))
        assert str(refused.value).startswith(f"{name} is {wrong}, but it must be {REQUIRED[name]}")


@pytest.mark.parametrize("name", sorted(set(REQUIRED) - NUMBERS))
def test_letters_may_be_of_either_case(name: str) -> None:
    check(row(**{name: REQUIRED[name].upper()}))
    check(row(**{name: REQUIRED[name].lower()}))


@pytest.mark.parametrize("version", ["8.0.11", "8.0.36-28", "8.4.3-commercial", "9.7.4", "10.1.0"])
def test_mysql_8_and_later_pass(version: str) -> None:
    check(row(version=version))


@pytest.mark.parametrize("version", ["5.7.44", "5.5.5-10.11.6-MariaDB", "11.4.2-MariaDB-ubu2404", "10.6.18-mariadb"])
def test_an_older_mysql_and_any_mariadb_are_refused_by_their_version(version: str) -> None:
    with pytest.raises(SettingRefused, match=f"version {version}, but MySQL 8.0 or later is needed"):
        check(row(version=version))


@pytest.mark.parametrize("value", [0, None])
def test_a_clock_that_ignores_the_pinned_time_is_refused(value: object) -> None:
    with pytest.raises(SettingRefused, match="sysdate_is_now is OFF"):
        check(row(sysdate_is_now=value))
