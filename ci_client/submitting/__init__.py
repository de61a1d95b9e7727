"""Submits projects and jobs: what is sent, and how."""
