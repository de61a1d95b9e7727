"""HTTP without jobs: the layer for every request, errors, bodies, ranges, JSON."""
