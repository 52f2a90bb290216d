"""When a lane may make its next request: spacing, Slack's `Retry-After`, and back-off in an outage."""


class Pace:
    """Times are seconds of one monotonic clock, passed in."""

    def __init__(self, spacing_s: float, backoff_first_s: float, backoff_max_s: float) -> None:
        self._spacing_s = spacing_s
        self._backoff_first_s = backoff_first_s
        self._backoff_max_s = backoff_max_s
        self._failures = 0
        self.ready_at_s = 0.0

    def done(self, now_s: float) -> None:
        """A request was answered. Spacing counts from the answer, so that requests never arrive closer than it."""
        self._failures = 0
        self.ready_at_s = max(self.ready_at_s, now_s + self._spacing_s)

    def failed(self, now_s: float) -> float:
        """No answer or a server error: waits 1, 2, 4, … seconds (the first and the most are settings). The wait."""
        delay_s = min(self._backoff_max_s, self._backoff_first_s * (1 << min(self._failures, 16)))
        self._failures += 1
        self.ready_at_s = max(self.ready_at_s, now_s + delay_s)
        return delay_s

    def pause(self, now_s: float, seconds: float) -> None:
        """Wait this long: Slack asked for it, or a person must correct a setting first."""
        self.ready_at_s = max(self.ready_at_s, now_s + seconds)
