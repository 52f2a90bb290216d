"""Which core counts."""

import sys

import pytest
from tests.support.cores import CORES

from tollgate.ledger.core import CoreMissingError, choose_core


@pytest.fixture
def _no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there was no compiler: the module cannot be found."""
    monkeypatch.setitem(sys.modules, "tollgate.ledger._native", None)
    monkeypatch.setattr("tollgate.ledger.core.find_spec", lambda _: None)


@pytest.mark.usefixtures("_no_library")
def test_without_the_library_python_counts_unless_the_compiled_core_is_asked_for() -> None:
    assert choose_core("auto") == "python"
    assert choose_core("python") == "python"
    with pytest.raises(CoreMissingError, match="TOLLGATE_CORE=python"):
        choose_core("compiled")


def test_with_the_library_it_counts_unless_python_is_asked_for() -> None:
    assert choose_core("auto") == CORES[-1]
    assert choose_core("python") == "python"
