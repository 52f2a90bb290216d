"""The events that most of these tests ask about, few enough to add up by hand. It is 29 November 2026, noon.

    id   day and hour          user   org     service  model    agent    cost               retail
    a1   2026-01-10 08         ann    acme    chat     gpt-4o   -        1.000000000001     2
    a2   2026-10-31 23:59:59   ann    acme    chat     gpt-4o   SEO      2                  3
    a3   2026-11-01 00         ann    acme    chat     gpt-4o   SEO      4.5                5
    b1   2026-11-02 10         bob    acme    images   dall-e   -        0.25               1
    b2   2026-11-28 10         bob    acme    video    gen-3    -        8                  0
    e1   2026-11-28 11         eve    globex  chat     gpt-4o   -        16                 20
    e2   2026-11-29 09:30      eve    globex  chat     gpt-5    SEO      0.000000000001     0
    e3   2026-11-29 10:15      eve    globex  images   dall-e   -        32.1               40
    a4   2026-11-29 10:45      ann    acme    chat     gpt-5    -        0                  0

November: 60.850000000001 of six events and one that was free; the 29th: 32.100000000001.
"""

from tests.integration.numbers.ledger import Event

NOW = "2026-11-29T12:00:00Z"


def _event(
    identity: str,
    time: str,
    user: str,
    org: str,
    service: str,
    model: str,
    agent: str,
    cost: str,
    retail: str,
    usage: dict[str, str],
    feature: str = "",
) -> Event:
    names = {"org": org, "service": service, "model": model, "agent": agent, "feature": feature}
    return Event(identity, time, user, cost, retail, usage, {name: value for name, value in names.items() if value})


_TOKENS = {"input_tokens": "100", "output_tokens": "10"}

STORY = [
    _event("a1", "2026-01-10T08:00:00Z", "ann", "acme", "chat", "gpt-4o", "", "1.000000000001", "2", _TOKENS, "chats"),
    _event("a2", "2026-10-31T23:59:59.999Z", "ann", "acme", "chat", "gpt-4o", "SEO", "2", "3", _TOKENS, "content"),
    _event("a3", "2026-11-01T00:00:00Z", "ann", "acme", "chat", "gpt-4o", "SEO", "4.5", "5", _TOKENS, "content"),
    _event("b1", "2026-11-02T10:00:00Z", "bob", "acme", "images", "dall-e", "", "0.25", "1", {"images": "3"}),
    _event("b2", "2026-11-28T10:00:00Z", "bob", "acme", "video", "gen-3", "", "8", "0", {"video_seconds": "2.5"}),
    _event("e1", "2026-11-28T11:00:00Z", "eve", "globex", "chat", "gpt-4o", "", "16", "20", _TOKENS),
    _event("e2", "2026-11-29T09:30:00Z", "eve", "globex", "chat", "gpt-5", "SEO", "0.000000000001", "0", {}, "content"),
    _event("e3", "2026-11-29T10:15:00Z", "eve", "globex", "images", "dall-e", "", "32.1", "40", {"images": "1"}),
    _event("a4", "2026-11-29T10:45:00Z", "ann", "acme", "chat", "gpt-5", "", "0", "0", _TOKENS, "chats"),
]
