"""What `tollgate.sdk.litellm` needs of LiteLLM, which is too large to install for the tests.

The package has 380 MB with all that it needs. The payloads that the tests give to our callback were captured from it.
"""

import sys
from types import ModuleType
from typing import Any

import pytest


def litellm_without_its_weight(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`litellm` with its list of callbacks and the class that callbacks derive from, until the test ends."""
    litellm: Any = ModuleType("litellm")
    litellm.callbacks = []
    integrations = ModuleType("litellm.integrations")
    custom_logger: Any = ModuleType("litellm.integrations.custom_logger")
    custom_logger.CustomLogger = type("CustomLogger", (), {})
    for module in (litellm, integrations, custom_logger):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.delitem(sys.modules, "tollgate.sdk.litellm", raising=False)
    return litellm
