"""Tests of the compiled core are collected where it was built, on which the root conftest insists if there is cargo."""

from tests.support.cores import CORES

collect_ignore = [] if "compiled" in CORES else ["test_compiled.py"]
