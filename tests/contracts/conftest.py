import pytest

pytest.register_assert_rewrite("tests.contracts.runtime_suite", "tests.helpers")
