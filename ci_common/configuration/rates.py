"""The settings on rates: how many requests of which kind a sender, a project or an address may send."""

from ci_common.configuration.declaration import DeclaredSettings, setting
from ci_common.parsing.rates import RateLimit

_RATES = "rate"
_OF_PROJECT = "the same for all keys and senders of a project together"


class RateSettings(DeclaredSettings):
    """The settings on rates. Each server process counts for itself."""

    rate_requests: RateLimit = setting(
        "CI_RATE_REQUESTS",
        "18000/m",
        "requests of a key, or without one of an address, that a server process takes; more are refused with 429; "
        "none: no limit. Without keys, requests of this machine have no limit",
        _RATES,
    )
    rate_submissions: RateLimit = setting(
        "CI_RATE_SUBMISSIONS", "1200/m", "the same for requests that make jobs or send files for them", _RATES
    )
    rate_changes: RateLimit = setting(
        "CI_RATE_CHANGES", "3000/m", "the same for requests that cancel, delete or change something", _RATES
    )
    rate_project_requests: RateLimit = setting(
        "CI_RATE_PROJECT_REQUESTS", "36000/m", f"CI_RATE_REQUESTS: {_OF_PROJECT}", _RATES
    )
    rate_project_submissions: RateLimit = setting(
        "CI_RATE_PROJECT_SUBMISSIONS", "2400/m", f"CI_RATE_SUBMISSIONS: {_OF_PROJECT}", _RATES
    )
    rate_project_changes: RateLimit = setting(
        "CI_RATE_PROJECT_CHANGES", "6000/m", f"CI_RATE_CHANGES: {_OF_PROJECT}", _RATES
    )
    rate_failed_keys: RateLimit = setting(
        "CI_RATE_FAILED_KEYS",
        "1200/m",
        "requests with a wrong key from one address that a server process answers; then it also refuses keys that it "
        "has not seen lately, without looking for them",
        _RATES,
    )
