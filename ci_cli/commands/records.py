"""`ci record`, `ci diff`, `ci rerun`, `ci verify`: commands about the records of runs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ci_cli.options.common import (
    color_option,
    detach_option,
    echo_json,
    events_option,
    json_option,
    raw_option,
    server_option,
    verbose_option,
    with_connection,
)
from ci_cli.options.parameters import JOB, FilePath, command
from ci_cli.submitting.making import Target, make_job

if TYPE_CHECKING:
    from ci_cli.connection import Connection

EX_DIFFERS = 1
attempt_option = click.option(
    "--attempt", metavar="N", type=click.IntRange(1), help="This attempt, from 1; by default the last."
)


@command()
@click.argument("job", type=JOB)
@attempt_option
@server_option
@json_option
def record(job: str, attempt: int | None, server: str | None, as_json: bool) -> int:
    """Show what a run was made of, did and used.

    This is its record. JOB is a job's id, or the beginning of one. With --json, the record as the server has it.
    """
    from ci_cli.console import show
    from ci_cli.records.showing import record_details

    async def work(connection: "Connection") -> int:
        found = await connection.client.record(await connection.resolve(job), attempt=attempt)
        if as_json:
            echo_json(found)
        else:
            show(record_details(found))
        return 0

    return with_connection(server, work)


@command()
@click.argument("before", metavar="JOB", type=JOB)
@click.argument("after", metavar="JOB", type=JOB)
@server_option
@json_option
def diff(before: str, after: str, server: str | None, as_json: bool) -> int:
    """Show what two runs do not have in common.

    Compared are request, image, environment, uploaded files, steps, tests, artifacts, times and use. JOB is a job's
    id, or the beginning of one.
    """
    from ci_cli.console import say, show, window_width
    from ci_cli.records.showing import file_lines
    from ci_cli.tables.differences import difference_table
    from ci_client.records import changed_files, differences

    async def work(connection: "Connection") -> int:
        client = connection.client
        old = await client.record(await connection.resolve(before), files=True)
        new = await client.record(await connection.resolve(after), files=True)
        found, files = differences(old["run"], new["run"]), changed_files(old, new)
        is_same = old["run"]["fingerprint"] == new["run"]["fingerprint"]
        if as_json:
            listed = [
                {"part": each.part, "name": each.name, "before": each.before, "after": each.after} for each in found
            ]
            changed = None if files is None else [{"change": sign, "path": path} for sign, path in files]
            echo_json({"same_fingerprint": is_same, "differences": listed, "files": changed})
            return 0
        say("the fingerprints are the same" if is_same else "the fingerprints differ")
        if found:
            show(difference_table(found, width=window_width()))
        uploads = [each["run"]["upload"] for each in (old, new)]
        for line in file_lines(files, are_same=uploads[0] == uploads[1]):
            show(line)
        return 0

    return with_connection(server, work)


@command()
@click.argument("job", type=JOB)
@detach_option
@raw_option
@verbose_option
@color_option
@server_option
@events_option
def rerun(job: str, server: str | None, as_json: bool, raw: bool, verbose: bool, detach: bool) -> int:
    """Repeat a run exactly, as a new job.

    It has the same upload, plan and image. Says first what cannot be the same. JOB is a job's id, or the beginning of
    one. `ci diff` compares both afterwards.
    """
    from ci_cli.console import say
    from ci_client.records import not_the_same

    async def repeat(connection: "Connection") -> str:
        client, job_id = connection.client, await connection.resolve(job)
        known = await client.record(job_id)
        environments = {environment["key"] for environment in await client.environments()}
        for what in not_the_same(known, lambda: environments):
            say(f"not the same: {what}")
        image = known["run"].get("image") or {}
        again = await client.retry_job(job_id, {"image": image["digest"]} if image.get("digest") else None)
        say(f"compare with: {connection.advice('diff', job_id, again)}")
        return again

    return make_job(repeat, Target(server, as_json=as_json, raw=raw, verbose=verbose, detach=detach))


@command()
@click.argument("job", type=JOB)
@attempt_option
@click.option(
    "--sign", "key", metavar="KEY", type=FilePath(), help="Sign the record with this SSH key, if it is whole."
)
@click.option(
    "--output", metavar="DIR", type=FilePath(), default=".", show_default=True, help="Where signed records go."
)
@click.option(
    "--signature", metavar="FILE", type=FilePath(), help="Check this signature of the record, which --sign made."
)
@click.option("--signers", metavar="FILE", type=FilePath(), help="Who may have signed: a file of allowed signers.")
@click.option("--signer", metavar="NAME", help="Who has signed, as --signers names them.")
@server_option
@json_option
def verify(
    job: str,
    attempt: int | None,
    key: Path | None,
    output: Path,
    signature: Path | None,
    signers: Path | None,
    signer: str | None,
    server: str | None,
    as_json: bool,
) -> int:
    """Check a run against the digests in its record.

    Checked are record, log and artifacts. JOB is a job's id, or the beginning of one. --sign and --signature need the
    program ssh-keygen; the signature is over the record, which has the digests of all others. The exit status is 1 if
    something is not as it was recorded.
    """
    from ci_cli.console import say, show
    from ci_cli.records.showing import check_table
    from ci_cli.records.signing import check_signature, sign
    from ci_client.records import canonical, check_document

    if signature is not None and (signers is None or signer is None):
        raise click.UsageError("--signature needs --signers and --signer")

    async def work(connection: "Connection") -> int:
        found = await connection.client.record(await connection.resolve(job), attempt=attempt)
        if found.get("sha256") is None:
            raise click.UsageError("the attempt has not ended, so there is nothing to verify yet")
        run, document = found["run"], canonical(found["run"]).encode()
        checks = [*check_document(found)]
        checks += [check async for check in connection.client.check_run(run["job_id"], run)]
        if signature is not None and signers is not None and signer is not None:
            checks.append(await check_signature(document, signature, signers, signer))
        is_whole = all(check.ok for check in checks)
        files: list[str] = []
        if key is not None and is_whole:
            name = f"{run['job_id']}.{run['attempt']}.run.json"
            files = [str(path) for path in await sign(document, output / name, key)]
        if as_json:
            listed = [{"what": check.what, "ok": check.ok, "text": check.text} for check in checks]
            echo_json({"verified": is_whole, "checks": listed, "signed": files})
        else:
            show(check_table(checks))
            for file in files:
                say(f"written: {file}")
        if not is_whole:
            say("something is not as it was recorded" + ("; nothing was signed" if key else ""), problem=True)
        return 0 if is_whole else EX_DIFFERS

    return with_connection(server, work)
