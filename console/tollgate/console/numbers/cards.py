"""The four usage cards of a user: content, images, videos, chats.

An event is on the card that its `feature` names; an event without a feature is on the card of what it made: images,
then seconds of video, then content for what an agent did, then chats for tokens. What is on no card (speech,
storage) is in the user's sums all the same.
"""

from typing import Final, NamedTuple


class CardRule(NamedTuple):
    """What is on a card: events of one of the `features`; without a feature, those for which the condition `made` (on
    columns of `usage`) holds first. `amount` is the dimension that the card adds up.
    """

    name: str
    features: tuple[str, ...]
    made: str
    amount: str


CARDS: Final = (
    CardRule("content", ("content", "text", "copy"), "agent != ''", "output_tokens"),
    CardRule("images", ("images", "image"), "images > 0", "images"),
    CardRule("videos", ("videos", "video"), "video_seconds > 0", "video_seconds"),
    CardRule("chats", ("chats", "chat"), "output_tokens > 0 OR input_tokens > 0", "output_tokens"),
)

# Which of the conditions is tried first for an event without a feature.
_ORDER: Final = ("images", "videos", "content", "chats")


def card_of() -> str:
    """An expression on columns of `usage`: the card's name, empty for none."""
    rules = {rule.name: rule for rule in CARDS}
    arms = [f"feature IN ({', '.join(map(repr, rule.features))}), '{rule.name}'" for rule in CARDS]
    arms.append("feature != '', ''")
    arms += [f"{rules[name].made}, '{name}'" for name in _ORDER]
    return f"multiIf({', '.join(arms)}, '')"
