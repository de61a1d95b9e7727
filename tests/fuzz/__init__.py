"""Generated requests against the real service: no 5xx, no hang, no growth, nothing that blocks the event loop.

`kinds` has one generator per file, `choices` makes their decisions and `shrinking` makes a failing input small.
`server` runs the service with a `watch` on its event loop, `client` sends, `checks` judges,
`campaign` puts it together.
`python -m tests.fuzz` is `make fuzz`; `test_fuzz.py` is the short run that is part of `make test`.
"""
