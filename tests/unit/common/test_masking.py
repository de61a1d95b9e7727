"""What of a request is shown."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_common.redaction import MASK, masked_env, masked_spec


def test_masks_what_sounds_like_a_secret() -> None:
    env = {"GITHUB_TOKEN": "a", "db_password": "b", "AWS_SECRET_ACCESS_KEY": "c", "HOME": "/root", "DEBUG": 1}
    assert masked_env(env) == {
        "GITHUB_TOKEN": "***", "db_password": "***", "AWS_SECRET_ACCESS_KEY": "***", "HOME": "/root", "DEBUG": 1,
    }  # fmt: skip


NAMES = [
    *("DB_PASS", "PGPASS", "MYSQL_PWD", "GH_PAT", "GITHUB_PAT_2", "my-pat", "JWT", "BEARER", "SENTRY_DSN", "PRIVATE"),
    *("SLACK_WEBHOOK", "DB_CONN", "AZURE_CONNECTION_STRING", "passphrase", "SESSION_COOKIE"),
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_secrets(name: str) -> None:
    assert masked_env({name: "x"}) == {name: MASK}


@pytest.mark.parametrize("name", ["PATH", "LD_LIBRARY_PATH", "PATTERN", "DISPATCH", "HOME", "DEBUG", "LANG"])
def test_names_that_only_look_like_them(name: str) -> None:
    assert masked_env({name: "x"}) == {name: "x"}


URLS = [
    ("https://user:pw@host/simple", "https://***@host/simple"),
    ("https://token@host/a", "https://***@host/a"),
    ("postgres://u:p@ss@h/db", "postgres://***@h/db"),
    ("postgres://u:pa/ss@h", "postgres://***@h"),
    ("postgres://u:p/a@s/s@h:5432/db", "postgres://***@h:5432/db"),
    ("postgres://u:1234/5@h/db", "postgres://***@h/db"),
    ("redis://:p?w#x@h:1/0", "redis://***@h:1/0"),
    ("https://user:pw@[::1]:8080/", "https://***@[::1]:8080/"),
    ("git+https://token@host/x/y@v1", "git+https://***@host/x/y@v1"),
    ("https://a/b https://u:p@c/d https://e", "https://a/b https://***@c/d https://e"),
    ("a=https://u:p@b,c=https://v:q@d", "a=https://***@b,c=https://***@d"),
    ("https://host/a@b", "https://host/a@b"),
    ("https://host:8080/a", "https://host:8080/a"),
    ("http://localhost:4873/@scope/name", "http://localhost:4873/@scope/name"),
    ("https://[::1]/a@b", "https://[::1]/a@b"),
    ("a@b: no URL", "a@b: no URL"),
    ("://", "://"),
]


@pytest.mark.parametrize(("text", "shown"), URLS)
def test_masks_logins_in_addresses(text: str, shown: str) -> None:
    assert masked_env({"A": text, "B": 1}) == {"A": shown, "B": 1}
    steps = [{"run": text, "name": "x"}]
    assert masked_spec({"steps": steps}) == {"steps": [{"run": shown, "name": "x"}]}
    assert masked_spec({"command": text}) == {"command": shown}
    assert masked_spec({"command": ["curl", text]}) == {"command": ["curl", shown]}


def test_a_password_with_quotation_marks() -> None:
    assert masked_env({"A": """x://u:p'"`<>|w@h/d"""}) == {"A": "x://***@h/d"}
    assert masked_spec({"command": "curl 'x://h' \"y://u:p@i\" -u a@b"}) == {
        "command": "curl 'x://h' \"y://***@i\" -u a@b"
    }


LOGINS = st.tuples(st.text("ab1", min_size=1), st.text("ab1:/@?#%&=+$!", min_size=1).map(lambda text: f"{text}S3CRET"))


@given(LOGINS, st.sampled_from(["h", "h:5432", "h/db", "h:1/a?b=c"]))
@settings(deadline=None)
def test_no_password_behind_a_user_is_shown(login: tuple[str, str], host: str) -> None:
    url = f"x://{login[0]}:{login[1]}@{host}"
    assert masked_env({"A": url}) == {"A": f"x://***@{host}"}
    assert masked_spec({"command": f"get {url} now"}) == {"command": f"get x://***@{host} now"}


def test_long_texts_are_masked_quickly() -> None:
    for text in ("://" * 300_000, "a://b:c@d " * 100_000, "://" + "@" * 1_000_000, "://" + "a:" * 500_000):
        begun = time.thread_time()
        assert len(masked_spec({"command": text})["command"]) <= len(text)
        assert time.thread_time() - begun < 0.1
    assert masked_spec({"command": "a://b:c@d " * 1001}) == {"command": MASK}


def test_leaves_the_rest_of_a_spec() -> None:
    assert masked_spec({"command": "x", "env": {"API_KEY": "y"}}) == {"command": "x", "env": {"API_KEY": "***"}}
    assert masked_spec({"command": "x"}) == {"command": "x"}
