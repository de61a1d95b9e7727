"""What of a request is shown."""

from ci_server.masking import masked_env, masked_spec


def test_masks_what_sounds_like_a_secret() -> None:
    env = {"GITHUB_TOKEN": "a", "db_password": "b", "AWS_SECRET_ACCESS_KEY": "c", "HOME": "/root", "DEBUG": 1}
    assert masked_env(env) == {
        "GITHUB_TOKEN": "***", "db_password": "***", "AWS_SECRET_ACCESS_KEY": "***", "HOME": "/root", "DEBUG": 1,
    }  # fmt: skip


def test_masks_logins_in_addresses() -> None:
    env = {"INDEX": "https://user:pw@host/simple", "PLAIN": "https://host/a@b"}
    assert masked_env(env) == {"INDEX": "https://***@host/simple", "PLAIN": "https://host/a@b"}


def test_leaves_the_rest_of_a_spec() -> None:
    assert masked_spec({"command": "x", "env": {"API_KEY": "y"}}) == {"command": "x", "env": {"API_KEY": "***"}}
    assert masked_spec({"command": "x"}) == {"command": "x"}
