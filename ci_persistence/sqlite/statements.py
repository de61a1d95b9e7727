"""The statements that only SQLite has: how connections are set up, transactions, and checks of the file."""

# Readers do not wait for the writer, a crash loses no acknowledged commit, and a burst leaves no huge -wal file behind.
# What a statement of many rows would need to be undone is kept in memory: by default it goes into a file for each.
CONFIGURE_WRITER = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA temp_store = MEMORY",
)

# A reader that writes is a mistake.
CONFIGURE_READER = ("PRAGMA query_only = ON",)

BEGIN = "BEGIN IMMEDIATE"
# Several reads that see the same.
BEGIN_READING = "BEGIN DEFERRED"
COMMIT = "COMMIT"
ROLLBACK = "ROLLBACK"

# A number that changes when another connection, of whatever process, has committed.
DATA_VERSION = "PRAGMA data_version"

# Everything in one file, without a write-ahead log; opening it as a database changes it back.
ONE_FILE = "PRAGMA journal_mode = DELETE"

JOURNAL_MODE = "PRAGMA journal_mode"
SCHEMA_VERSION = "PRAGMA user_version"

# What is wrong with pages and rows, at most so many lines; one line `ok` where nothing is.
QUICK_CHECK = "PRAGMA quick_check(10)"

# The same, and every index against its table.
INTEGRITY_CHECK = "PRAGMA integrity_check(10)"

# Rows that name a row that does not exist.
FOREIGN_KEY_CHECK = "PRAGMA foreign_key_check"
