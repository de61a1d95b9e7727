"""What every `Storage` promises about projects."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ci_common.access.identity import Role
from ci_common.sharing.projects import Member, Project, ProjectSettings
from ci_persistence.storage import Storage
from tests.contracts.storage_place import Base

T0 = datetime(2026, 1, 1, tzinfo=UTC)
PLAIN = Project(name="website", created_time=T0, created_by="alice")
FULL = Project(
    name='ünïcödé, "quoted"',
    description="of\nseveral lines",
    created_time=T0 + timedelta(hours=1),
    created_by="bob",
    settings=ProjectSettings.model_validate(
        {
            "images": ["python:3.*"],
            "defaults": {"timeout": "20m", "env": {"A": "1"}, "steps": [{"run": "true", "if": "always"}]},
            "retention": {"completed": "7d", "failed": "forever", "jobs": 5},
        }
    ),
)


class ProjectSuite(Base):
    async def test_keeps_projects(self, storage: Storage) -> None:
        assert await storage.projects.get(PLAIN.name) is None
        assert [await storage.projects.add(project) for project in (PLAIN, FULL)] == [True, True]
        assert await storage.projects.get(FULL.name) == FULL
        assert {project.name: project for project in await storage.projects.list()} == {
            project.name: project for project in (PLAIN, FULL)
        }

    async def test_a_name_is_given_once(self, storage: Storage) -> None:
        await storage.projects.add(PLAIN)
        assert not await storage.projects.add(replace(FULL, name=PLAIN.name))
        assert await storage.projects.get(PLAIN.name) == PLAIN

    async def test_of_two_changes_of_one_version_one_is_made(self, storage: Storage) -> None:
        await storage.projects.add(PLAIN)
        first, second = replace(PLAIN, description="one"), replace(PLAIN, description="two")
        assert [await storage.projects.change(project) for project in (first, second)] == [True, False]
        assert await storage.projects.get(PLAIN.name) == replace(first, version=1)

    async def test_a_removed_project_is_gone(self, storage: Storage) -> None:
        await storage.projects.add(PLAIN)
        assert [await storage.projects.remove(PLAIN.name) for _ in range(2)] == [True, False]
        assert await storage.projects.list() == []
        assert not await storage.projects.change(PLAIN)

    async def test_keeps_members(self, storage: Storage) -> None:
        bob, carol = Member("bob", Role.VIEWER, T0, "alice"), Member("carol", Role.ADMIN, T0, "alice")
        assert not await storage.projects.set_member(PLAIN.name, bob)
        for project in (PLAIN, FULL):
            await storage.projects.add(project)
            assert await storage.projects.set_member(project.name, bob)
        assert await storage.projects.set_member(PLAIN.name, carol)
        assert await storage.projects.set_member(PLAIN.name, replace(bob, role=Role.DEVELOPER, created_by="carol"))
        changed = replace(bob, role=Role.DEVELOPER)
        assert await storage.projects.members(PLAIN.name) == (changed, carol)
        memberships = await storage.projects.memberships()
        assert memberships["bob"] == await storage.projects.memberships_of("bob")
        assert set(memberships["bob"]) == {(PLAIN.name, Role.DEVELOPER), (FULL.name, Role.VIEWER)}
        assert memberships["carol"] == ((PLAIN.name, Role.ADMIN),)
        assert [await storage.projects.remove_member(PLAIN.name, "carol") for _ in range(2)] == [True, False]
        await storage.projects.remove(PLAIN.name)
        assert await storage.projects.memberships() == {"bob": ((FULL.name, Role.VIEWER),)}
