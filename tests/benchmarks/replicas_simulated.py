"""Fifty replicas that share one repo's budget of commits, on a simulated clock: what our rules make of it.

The rules are the real ones (`Budget.period`, `decide_retry`); the Hub is a counter that takes 128 commits in any hour
and answers 429 beyond. The stock scheduler tries once a period.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass, field

from hubspool.client.retry import GiveUp, RetryPolicy, decide_retry
from hubspool.errors import RateLimitedError
from hubspool.push.budget import Budget

HOUR = 3600.0
CAP = 128
EVERY = 300.0


@dataclass
class Hub:
    """Takes `CAP` commits in any hour."""

    commits: deque[tuple[float, int]] = field(default_factory=deque)

    def commit(self, now: float, writer: int) -> bool:
        self.forget(now)
        if len(self.commits) >= CAP:
            return False
        self.commits.append((now, writer))
        return True

    def writers(self, now: float) -> set[int]:
        self.forget(now)
        return {writer for _, writer in self.commits}

    def forget(self, now: float) -> None:
        while self.commits and self.commits[0][0] <= now - HOUR:
            self.commits.popleft()


@dataclass
class Outcome:
    """Minutes that the oldest row waited (infinite where a replica never got through), and commits a replica."""

    oldest: float
    fewest: int
    most: int


def simulate(replicas: int, hours: float, *, shares: bool, seed: int = 1) -> Outcome:
    """Let every replica append all the time, and push as ours does, or as the stock scheduler does."""
    chance = random.Random(seed)
    hub, budget = Hub(), Budget()
    policy = RetryPolicy(attempts=1000, seconds=EVERY, base=1.0, cap=60.0)
    sent = dict.fromkeys(range(replicas), 0.0)  # up to when a replica's rows are on the Hub
    counts = dict.fromkeys(range(replicas), 0)
    oldest = 0.0
    # (time, replica, when this push began, attempts made)
    events = [(chance.random() * EVERY, replica, 0.0, 0) for replica in range(replicas)]
    heapq.heapify(events)
    while events and events[0][0] < hours * HOUR:
        now, replica, began, attempts = heapq.heappop(events)
        began = now if attempts == 0 else began
        writers = len(hub.writers(now) | {replica})
        if shares and attempts == 0 and counts[replica]:  # whose turn is it? (CommitScheduler._is_turn)
            fair = budget.period(EVERY, writers, chance.random())
            if fair > EVERY and now < sent[replica] + fair:
                heapq.heappush(events, (sent[replica] + fair, replica, 0.0, 0))
                continue
        if hub.commit(now, replica):
            oldest = max(oldest, now - sent[replica])
            sent[replica], counts[replica] = now, counts[replica] + 1
        elif shares:
            decision = decide_retry(
                policy, RateLimitedError("429"), attempt=attempts + 1, elapsed=now - began, chance=chance.random()
            )
            if not isinstance(decision, GiveUp):
                heapq.heappush(events, (now + decision.seconds, replica, began, attempts + 1))
                continue
        heapq.heappush(events, (max(began + EVERY, now), replica, 0.0, 0))
    waiting = max(hours * HOUR - each for each in sent.values())
    return Outcome(max(oldest, waiting) / 60, min(counts.values()), max(counts.values()))


def main() -> None:
    """Print both."""
    for name, shares in (("huggingface_hub", False), ("hubspool", True)):
        outcome = simulate(50, 12, shares=shares)
        print(
            f"{name}: oldest unsent row {outcome.oldest:.0f} min; {outcome.fewest} to {outcome.most} commits a replica"
        )


if __name__ == "__main__":
    main()
