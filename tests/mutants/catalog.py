"""Every mutant: what it breaks, the edit that does it, and the tests that must notice."""

from __future__ import annotations

from tests.mutants import (
    bucket_mutants,
    compaction_mutants,
    other_mutants,
    push_mutants,
    removal_mutants,
    value_mutants,
)

MUTANTS = [
    *push_mutants.MUTANTS,
    *bucket_mutants.MUTANTS,
    *compaction_mutants.MUTANTS,
    *other_mutants.MUTANTS,
    *removal_mutants.MUTANTS,
    *value_mutants.MUTANTS,
]
