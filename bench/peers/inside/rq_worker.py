"""RQ's usual forking worker, with everything that jobs need imported before it forks, as RQ's guide advises."""

import os

import container  # noqa: F401
import redis
from rq import Queue, Worker

connection = redis.Redis(unix_socket_path=os.environ["BENCH_REDIS"])
Worker([Queue("bench", connection=connection)], connection=connection).work(logging_level="WARNING")
