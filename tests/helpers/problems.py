"""Answers that say what was wrong."""

from typing import Any

import httpx


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert {"type", "title", "detail", "code"} <= document.keys()
    return dict(document)


def paths(document: dict[str, Any]) -> list[str]:
    return [error["path"] for error in document["errors"]]
