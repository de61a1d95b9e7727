"""Reading and forging the records of the process runtime."""

from ci_common.run_directory.layout import DataDirectory
from ci_common.system.processes import ProcessIdentity
from ci_controller.runtime.process.record import ProcessRecord
from tests.contracts.runtime_suite.trial import Trial


def record_of(trial: Trial, data: DataDirectory) -> ProcessRecord:
    return ProcessRecord(data.processes / f"{trial.key.job_id}.{trial.key.attempt}")


def forge(record: ProcessRecord, name: str, identity: ProcessIdentity) -> None:
    record.create()
    (record.path / name).write_text(identity.to_json())


def identity(record: ProcessRecord, name: str) -> ProcessIdentity:
    return ProcessIdentity.from_json((record.path / name).read_text())
