"""A day that has not come yet, for code that takes the days before one."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

#: Later than today, even if midnight passes while the tests run.
TOMORROW = datetime.now(timezone.utc).date() + timedelta(days=2)
