"""The client library, the packing of a directory, and the `ci` command line."""
