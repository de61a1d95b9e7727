"""The types of the API that the page is compiled with."""

from pathlib import Path

from scripts.make_ui_types import TYPES, write_types


def test_the_page_is_compiled_with_the_types_of_this_api(tmp_path: Path) -> None:
    write_types(tmp_path / "openapi.d.ts")
    assert (tmp_path / "openapi.d.ts").read_text() == TYPES.read_text(), "run `python -m scripts.make_ui_types`"
