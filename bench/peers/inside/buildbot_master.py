"""Buildbot's master.cfg: changes come by sendchange, a local worker runs `docker run` as the one step of a build.

Nothing waits: no stable timer, no collapsing of requests, and the end of a build is told at once, by a FIFO.
"""

import json
import os
from pathlib import Path

from buildbot.plugins import changes, schedulers, steps, util, worker
from buildbot.util import service


class Teller(service.BuildbotService):
    """Writes the result of every build that ends into the FIFO that the driver reads."""

    name = "teller"

    async def startService(self):  # noqa: N802
        await super().startService()
        await self.master.mq.startConsuming(self.tell, ("builds", None, "finished"))

    def tell(self, key, build):  # noqa: ARG002
        Path(os.environ["BENCH_ENDS"]).write_text(f"{build['results']}\n")


@util.renderer
def docker_run(properties):
    task = json.loads(properties.getProperty("task"))
    mount = ["--volume", f"{task['project']}:/project", "--workdir", "/project"] if task["project"] else []
    return ["docker", "run", "--rm", "--label", "ci-server.bench", *mount, task["image"], *task["command"]]


_step = steps.ShellCommand(command=docker_run, logEnviron=False, usePTY=False)
BuildmasterConfig = {
    "buildbotNetUsageData": None,
    "builders": [util.BuilderConfig("job", workernames=["local"], factory=util.BuildFactory([_step]))],
    "change_source": [changes.PBChangeSource(user="bench", passwd="bench")],
    "collapseRequests": False,
    "db": {"db_url": "sqlite:///state.sqlite"},
    "protocols": {"pb": {"port": f"tcp:{os.environ['BENCH_PORT']}:interface=127.0.0.1"}},
    "schedulers": [
        schedulers.AnyBranchScheduler("all", builderNames=["job"], treeStableTimer=None, properties={}),
    ],
    "services": [Teller()],
    "workers": [worker.LocalWorker("local", max_builds=2)],
}
