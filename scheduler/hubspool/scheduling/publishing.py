"""When the rows of a bucket are published: the rules that `publish_to` and `hubspool publish` share."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hubspool.client.target import Target
from hubspool.errors import RepositoryNotFoundError
from hubspool.scheduling.defaults import DEFAULTS

if TYPE_CHECKING:
    from hubspool.client.hf_api import HfApi
    from hubspool.push.joiner import Joiner
    from hubspool.push.publish import CardOf, Publisher
    from hubspool.push.remote_bucket import RemoteBucket


def seconds_until_look(period: float, chance: float, due_in: float | None) -> float:
    """Return the seconds until a machine looks again whether a publish is due.

    Args:
        period: seconds between two publishes.
        chance: a random number from 0 to 1.
        due_in: seconds until the next publish; None after an error: within an hour, and within the period.
    """
    if due_in is None:
        return min(period, DEFAULTS.first_compaction) * (1 + chance) / 2
    return due_in + chance * min(period / 5, DEFAULTS.publish_jitter)


def publisher_of(
    bucket: RemoteBucket, inside: str, dataset: str, joiners: Mapping[str, Joiner], card_of: CardOf, **options: Any
) -> Publisher:
    """Return a publisher from a folder of a bucket to a dataset, which a run creates.

    Args:
        bucket: to read.
        inside: the folder.
        dataset: ``user/name``; a name alone belongs to the token's user.
        joiners: suffix → what joins files of that form.
        card_of: makes the dataset card.
        options: more arguments of `Publisher`.
    """
    from hubspool.push.publish import Publisher
    from hubspool.push.remote import RemoteRepo

    api: HfApi = bucket.api
    name = dataset if "/" in dataset else f"{api.whoami(cache=True)['name']}/{dataset}"
    repo = RemoteRepo(api, Target.of(api.endpoint, name, "dataset"))
    return Publisher(bucket, inside, repo, joiners, card_of, **options)


def seconds_until_publish(publisher: Publisher, period: float, *, private: bool) -> float | None:
    """Return the seconds until the newest publish is `period` seconds old; None if the bucket has no rows.

    It is 0 if that publish has published only a part. `publisher.run` is to be called then: the bucket was listed for
    it, and it creates the dataset if that is missing and there is something to commit.

    Args:
        publisher: of the bucket and the dataset.
        period: seconds between two publishes; 0 publishes now.
        private: visibility of the dataset, if it is created.
    """
    is_due, publisher.private = False, private
    try:
        with suppress(RepositoryNotFoundError):
            if wait := publisher.seconds_until_due(period):
                return wait
        is_due = publisher.look()
        return 0.0 if is_due else None
    finally:
        if not is_due:
            publisher.forget()
