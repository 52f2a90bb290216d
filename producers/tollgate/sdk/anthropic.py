"""Anthropic's client, recorded and limited.

```python
from anthropic import Anthropic
from tollgate.sdk.anthropic import metered

client = metered(Anthropic(), toll, user="u-42", feature="chat")
```
"""

from typing import Any, Final, TypeVar

from tollgate.sdk.faces import Recorder
from tollgate.sdk.metered_client import Dialect, meter_client
from tollgate.sdk.metering import Estimate, Meter, OnBlock, Reserve, User
from tollgate.sdk.providers.anthropic import OPERATIONS, AnthropicAnswer

Client = TypeVar("Client")

_CLOUDS: Final = {
    "Bedrock": "bedrock",
    "AWS": "bedrock",
    "Vertex": "google",
    "GoogleCloud": "google",
    "Foundry": "azure",
}


def metered(
    client: Client,
    toll: Recorder,
    *,
    user: User = None,
    provider: str | None = None,
    reserve: Reserve = False,
    estimate_usd: Estimate = None,
    on_block: OnBlock | None = None,
    **names: Any,
) -> Client:
    """The same client, whose messages are checked before they are asked for and recorded after.

    For `Anthropic` and `AsyncAnthropic`, with `create`, `stream` and `parse`, and for the clients of the clouds, whose
    `provider` is found by their class. Parameters and errors are those of `tollgate.sdk.openai.metered`.
    """
    if provider is None:
        kind = type(client).__name__
        provider = next((cloud for name, cloud in _CLOUDS.items() if name in kind), "anthropic")
    meter = Meter(toll, provider, user, reserve, estimate_usd, on_block, names)
    meter_client(client, meter, Dialect(OPERATIONS, AnthropicAnswer))
    return client
