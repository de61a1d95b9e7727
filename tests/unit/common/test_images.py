"""Which references of images a pattern allows."""

import pytest

from ci_common.parsing.images import check_image_pattern, matches_image

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("pattern", "image"),
    [
        ("python", "python"),
        ("python", "python:3.12-slim"),
        ("python", f"python@{DIGEST}"),
        ("python", f"python:3.12@{DIGEST}"),
        ("python", "docker.io/library/python:3"),
        ("docker.io/python", "python:3"),
        ("index.docker.io/library/python", "python"),
        ("python:3.*", "python:3.12"),
        ("python:latest", "python"),
        ("team/app", "docker.io/team/app:1"),
        ("ghcr.io/team/*", "ghcr.io/team/app:1"),
        ("ghcr.io/team/*", "ghcr.io/team/deep/app"),
        ("localhost:5000/*", "localhost:5000/app:1"),
        (f"python@{DIGEST}", f"python:3.12@{DIGEST}"),
        ("python@sha256:*", f"python@{DIGEST}"),
        ("python:3.1?", "python:3.12"),
        ("*", "ghcr.io/team/app"),
        ("*", "python"),
        ("*.example.org/app", "registry.example.org/app:1"),
    ],
)
def test_a_pattern_allows(pattern: str, image: str) -> None:
    assert matches_image(check_image_pattern(pattern), image)


@pytest.mark.parametrize(
    ("pattern", "image"),
    [
        ("python", "evil.example/python"),
        ("python", "evil/python"),
        ("python", "python2"),
        ("python:3.*", "python:2.7"),
        ("python:3.*", "python"),
        ("python:3.*", f"python:3.12@{DIGEST}"),
        ("python@sha256:*", "python:3.12"),
        ("ghcr.io/team/*", "ghcr.io.evil.example/team/app"),
        ("ghcr.io/team/*", "ghcr.io/teams/app"),
        ("team/*", "evil.example/team/app"),
        ("library/*", "evil.example/library/python"),
        ("py*", "evil.example/library/python"),
        ("localhost:5000/*", "localhost:5001/app"),
    ],
)
def test_a_pattern_does_not_allow(pattern: str, image: str) -> None:
    assert not matches_image(check_image_pattern(pattern), image)


@pytest.mark.parametrize("text", ["", "python 3", "a[b]", "x" * 513, "a\nb", "ä"])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a pattern for images"):
        check_image_pattern(text)
