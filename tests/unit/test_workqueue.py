"""A key waits at most once and is worked on by one worker at a time."""

import asyncio

from tradingrelease.policy.model import Key
from tradingrelease.workqueue import WorkQueue

ONE, TWO = Key("production", "one"), Key("production", "two")


async def nothing(queue):
    """Tell that nothing is to be taken for a while."""
    try:
        async with asyncio.timeout(0.02):
            return await queue.take()
    except TimeoutError:
        return None


def test_keys_are_taken_in_the_order_in_which_they_came():
    async def story():
        queue = WorkQueue()
        queue.add(TWO)
        queue.add(ONE)
        queue.add(TWO)
        return [await queue.take(), await queue.take(), await nothing(queue)]

    assert asyncio.run(story()) == [TWO, ONE, None]


def test_a_key_that_is_worked_on_is_looked_at_once_more_and_only_afterwards():
    async def story():
        queue = WorkQueue()
        queue.add(ONE)
        taken = [await queue.take()]
        queue.add(ONE)
        queue.add(ONE)
        taken.append(await nothing(queue))
        queue.done(ONE)
        taken.append(await queue.take())
        queue.done(ONE)
        return [*taken, await nothing(queue)]

    assert asyncio.run(story()) == [ONE, None, ONE, None]


def test_a_key_put_off_comes_when_it_is_due():
    async def story():
        queue = WorkQueue()
        queue.add_after(ONE, 0.03)
        early = await nothing(queue)
        async with asyncio.timeout(5):
            return early, await queue.take()

    assert asyncio.run(story()) == (None, ONE)


def test_the_earliest_time_counts():
    async def story():
        queue = WorkQueue()
        queue.add_after(ONE, 0.01)
        queue.add_after(ONE, 3600)
        queue.add_after(TWO, 3600)
        queue.add_after(TWO, 0.02)
        async with asyncio.timeout(5):
            return {await queue.take(), await queue.take()}

    assert asyncio.run(story()) == {ONE, TWO}


def test_a_look_replaces_the_one_that_was_put_off():
    async def story():
        queue = WorkQueue()
        queue.add_after(ONE, 0.01)
        queue.add(ONE)
        taken = await queue.take()
        queue.done(ONE)
        return taken, await nothing(queue)

    assert asyncio.run(story()) == (ONE, None)


def test_a_worker_that_waits_is_woken():
    async def story():
        queue = WorkQueue()
        worker = asyncio.create_task(queue.take())
        await asyncio.sleep(0)
        queue.add(ONE)
        async with asyncio.timeout(5):
            return await worker

    assert asyncio.run(story()) == ONE
