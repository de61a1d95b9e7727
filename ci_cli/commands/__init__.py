"""The commands of `ci`. These modules import nothing but click at first, so that `ci --help` is quick."""
