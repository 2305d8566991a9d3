"""A job as the page shows it: a bar and a line of text."""

from __future__ import annotations

from ui.errors import notice, safe
from ui.jobs import Job, Place


def bar(job: Job, text: str, place: Place | None = None) -> str:
    """Format a job's progress as HTML; of a failed one, why it failed.

    Args:
        job: Of any kind.
        text: What it does, below the bar.
        place: Its place in the queue.
    """
    if job.status == "failed":
        return notice(job.error)
    if job.status == "queued":
        text = waiting(place or Place())
    elif job.reason and not job.live:
        text = joined(text, job.reason)
    percent = 100 if job.status == "done" else round(100 * job.done / max(1, job.total))
    return (
        f'<div class="job {job.status}"><div class="bar" role="progressbar" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent}" aria-label="progress">'
        f'<i style="width:{percent}%"></i></div><p>{safe(text)}</p></div>'
    )


def waiting(place: Place) -> str:
    """Describe the place of a waiting job."""
    if not place.ahead:
        return "Waiting for the device"
    jobs = "1 job" if place.ahead == 1 else f"{place.ahead} jobs"
    return joined(
        f"Waiting, place {place.ahead + 1}: {jobs} before this one",
        about(place.seconds) if place.seconds else "",
    )


def duration(seconds: float) -> str:
    """Format seconds for people: 59 s, 1 min 35 s, 20 min, 1 h 1 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = f"{whole // 60 % 60} min"
    if whole < 3600:
        return minutes if whole >= 600 or whole % 60 == 0 else f"{minutes} {whole % 60} s"
    return f"{whole // 3600} h {minutes}"


def time_left(job: Job) -> str:
    """Format the time that a running job still needs, or nothing."""
    if not job.live or job.seconds_left is None:
        return ""
    return f"about {duration(max(1.0, job.seconds_left))} left"


def about(seconds: float) -> str:
    """Format an estimate, as rough as it is."""
    coarse = 5 if seconds < 60 else 30 if seconds < 600 else 60
    return f"about {duration(max(coarse, coarse * round(seconds / coarse)))}"


def joined(*texts: str) -> str:
    """Put the texts that are not empty on one line."""
    return " · ".join(text for text in texts if text)
