import asyncio
import threading

import pytest

from tollgate.sdk.context import call_context, current_names, merged_names


def test_an_inner_block_inherits_and_its_own_names_win() -> None:
    assert current_names() == {}
    with call_context(user="u-42", agent="SEO") as names:
        assert names == {"user": "u-42", "agent": "SEO"}
        with call_context(agent="writer", campaign="holiday-2024", user=None):
            assert current_names() == {"user": "u-42", "agent": "writer", "campaign": "holiday-2024"}
        assert current_names() == {"user": "u-42", "agent": "SEO"}
    assert current_names() == {}


def test_an_error_ends_the_block() -> None:
    with pytest.raises(LookupError), call_context(user="u-1"):
        raise LookupError
    assert current_names() == {}


def test_names_of_a_call_win_over_those_of_the_block() -> None:
    with call_context(user="u-42", model="gpt-4o"):
        assert merged_names({"model": "gpt-4o-mini", "agent": None}) == {"user": "u-42", "model": "gpt-4o-mini"}


async def test_tasks_do_not_see_each_others_names() -> None:
    barrier = asyncio.Barrier(2)

    async def seen(user: str) -> str:
        with call_context(user=user):
            await barrier.wait()
            return current_names()["user"]

    assert list(await asyncio.gather(seen("u-1"), seen("u-2"))) == ["u-1", "u-2"]


async def test_a_task_has_the_names_of_where_it_was_created() -> None:
    async def seen() -> dict[str, str]:
        return dict(current_names())

    with call_context(user="u-1"):
        task = asyncio.create_task(seen())
    assert await task == {"user": "u-1"}
    with call_context(user="u-1"):
        assert await asyncio.to_thread(lambda: dict(current_names())) == {"user": "u-1"}


def test_a_plain_thread_has_no_names() -> None:
    seen: list[dict[str, str]] = []
    with call_context(user="u-1"):
        thread = threading.Thread(target=lambda: seen.append(dict(current_names())))
        thread.start()
        thread.join()
    assert seen == [{}]


def test_wrong_names_fail_at_the_call() -> None:
    with pytest.raises(TypeError, match=r"'usr' is no name of a call: give user, org"), call_context(usr="u-1"):
        pass
    with pytest.raises(TypeError, match=r"user must be text, not int: write user=str"):
        merged_names({"user": 42})  # type: ignore[dict-item]


def test_what_holds_cannot_be_changed_in_passing() -> None:
    with call_context(user="u-1") as names, pytest.raises(TypeError):
        names["user"] = "u-2"  # type: ignore[index]
