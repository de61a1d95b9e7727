"""One container by the docker SDK, as quickly as the SDK can: the output by attaching before the start, no log driver,
and the engine itself removes it, so that nobody waits for that. The options are those of the product's containers."""

import docker

LABEL = "ci-server.bench"
_client = docker.from_env()


def run_container(image: str, command: list[str], project: str | None) -> tuple[int, str]:
    """Return exit status and output."""
    api = _client.api
    host = api.create_host_config(
        auto_remove=True,
        binds=[f"{project}:/project"] if project else [],
        log_config={"Type": "none", "Config": {}},
    )
    created = api.create_container(
        image, command, host_config=host, labels=[LABEL], working_dir="/project" if project else None
    )
    output = api.attach(created["Id"], stdout=True, stderr=True, stream=True)
    # Asked before the start, since afterwards there may be nothing to ask about any more.
    url = f"{api.base_url}/v{api._version}/containers/{created['Id']}/wait"
    ended = api.post(url, params={"condition": "next-exit"}, stream=True)
    api.start(created["Id"])
    text = b"".join(output).decode(errors="replace")
    return ended.json()["StatusCode"], text
