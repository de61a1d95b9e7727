"""An installation, and where its backup goes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.controller.backup.backups import Place, placed


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with placed(tmp_path) as place:
        yield place


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backup"
