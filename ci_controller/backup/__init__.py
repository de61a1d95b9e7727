"""Backup and restore of an installation: its database, and the files of the jobs in it that outlive them."""
