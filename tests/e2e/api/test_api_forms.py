"""Forms around uploads: what RFC 2046 allows, and how much of it is taken."""

from collections.abc import AsyncIterator

import pytest

from tests.helpers.played_api import Api, StartApi, zipped

PYTHON = zipped(test_a__py="def test(): pass")
FORM = b'--x\r\nContent-Disposition: form-data; name="file"; filename="p.zip"\r\n\r\n' + PYTHON + b"\r\n--x--\r\n"


@pytest.mark.parametrize(
    ("before", "status"),
    [
        (b"This is a form.\r\n", 202),
        (b"\r\n--\r\n-x\r\n", 202),
        (b"one line\r\nanother with --x in it\r\n", 202),
        (b"x" * 60_000 + b"\r\n", 202),
        (b"no line of its own: ", 400),
        (b"x" * 70_000 + b"\r\n", 400),
    ],
    ids=["a line", "what is nearly the boundary", "the boundary within a line", "much", "no end of line", "too much"],
)
@pytest.mark.parametrize("chunk", [997, 1_000_000])
async def test_what_stands_before_a_form(api: Api, before: bytes, status: int, chunk: int) -> None:
    sent = before + FORM

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(sent), chunk):
            yield sent[start : start + chunk]

    content_type = {"content-type": "multipart/form-data; boundary=x"}
    answer = await api.client.post("/submit-async", content=chunks(), headers=content_type)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(("length", "status"), [(256, 202), (257, 400), (900, 400)])
async def test_a_long_boundary(api: Api, length: int, status: int) -> None:
    boundary = "b" * length
    content_type = {"content-type": f"multipart/form-data; boundary={boundary}"}
    form = FORM.replace(b"--x", b"--" + boundary.encode())
    answer = await api.client.post("/submit-async", content=form, headers=content_type)
    assert answer.status_code == status, answer.text
    if status != 202:
        assert "boundary" in answer.json()["detail"]
        assert api.left_over() == []


async def test_what_follows_a_form_is_bounded(start_api: StartApi) -> None:
    api = await start_api(max_upload_bytes=1_000_000)

    async def chunks() -> AsyncIterator[bytes]:
        yield FORM
        for _ in range(100):
            yield bytes(65_536)

    content_type = {"content-type": "multipart/form-data; boundary=x"}
    answer = await api.client.post("/submit-async", content=chunks(), headers=content_type)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert api.left_over() == []
