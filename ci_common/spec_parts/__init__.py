"""Parts of a spec, which `ci_common.spec` puts together."""
