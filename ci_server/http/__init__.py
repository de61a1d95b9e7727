"""HTTP without jobs: middleware, errors, request bodies, ranges, JSON."""
