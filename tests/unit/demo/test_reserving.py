"""What the demo's users do is what plans limit."""

from tollgate.demo import CLIP, OFFERS, VIDEO
from tollgate.schemas.plans import shipped_plans


def test_the_features_that_plans_limit_are_those_of_the_offers() -> None:
    limited = {limit.feature for limit in shipped_plans()["free"].limits}
    assert limited == {"content", "image", "video", "chat"}
    assert limited <= {offer.feature for offer in OFFERS}


def test_the_videos_of_the_demo_count_against_the_plan() -> None:
    assert (VIDEO.feature, CLIP.feature) == ("video", "video")
