"""OpenAI's client, and any other OpenAI-compatible server's, recorded and limited.

```python
from openai import OpenAI
from tollgate.sdk.openai import metered

client = metered(OpenAI(), toll, user="u-42", feature="chat")
```
"""

from typing import Any, TypeVar

from tollgate.sdk.faces import Recorder
from tollgate.sdk.metered_client import Dialect, meter_client
from tollgate.sdk.metering import Estimate, Meter, OnBlock, Reserve, User
from tollgate.sdk.providers.openai import OPERATIONS, OpenAIAnswer, convention_of, provider_of
from tollgate.sdk.realtime import meter_connections

Client = TypeVar("Client")


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
    """The same client, whose calls are checked before they are made and recorded after: `OpenAI`, `AsyncOpenAI`, Azure.

    Counted are chat completions, responses, embeddings, images, audio and realtime connections, also in streams, with
    `with_raw_response`, `with_streaming_response`, and by the copies that `with_options` makes.

    - `user`: whose calls these are, or a function that is asked at each call. `call_context(user=…)` goes before it.
    - `names`: the calls' other names, such as `feature` and `agent`. `call_context` goes before them too.
    - `provider`: who answers; found by the base URL when absent (Azure, Groq, OpenRouter, …), else `openai`.
    - `estimate_usd`: what a call may cost, as text or Decimal, or a function of the request's body. With `reserve=True`
      so much is reserved before each call, and settled by it; with `reserve="slice"` busy users' calls share slices.
    - `on_block`: called as `on_block(decision, body)` when a call is blocked, or a budget asks for a cheaper model. The
      fields that it gives, such as `{"model": "gpt-4o-mini"}`, take the place of the body's; with None, or when that
      call is blocked too, the call raises BlockedError.

    TypeError says what to write instead. Afterwards calls raise what they raised before, and BlockedError.
    """
    url = getattr(client, "base_url", None)
    if provider is None:
        provider = "azure" if "Azure" in type(client).__name__ else provider_of(getattr(url, "host", "") or "")
    convention = convention_of(provider)
    meter = Meter(toll, provider, user, reserve, estimate_usd, on_block, names)
    dialect = Dialect(
        OPERATIONS,
        lambda operation, body: OpenAIAnswer(operation, body, convention),
        asks_for_usage=frozenset({"chat.completion", "completion"}),
    )
    meter_client(client, meter, dialect)
    meter_connections(client, meter, convention)
    return client
