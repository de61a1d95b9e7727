"""What can be read from a setup.py without running it."""

import time

import pytest

from ci_common.errors import InvalidRequest
from ci_server.detection.declarations.setuptools_files import SetupArguments, read_setup_py


def test_literals() -> None:
    found = read_setup_py(
        "import setuptools\nsetuptools.setup(extras_require={'test': ['a', 'b']}, tests_require='c\\nd')"
    )
    assert found == SetupArguments({"test": ["a", "b"]}, ["c", "d"])


def test_names_sums_and_additions() -> None:
    found = read_setup_py(
        """
TESTS: list = ["a"]
extras = {"test": TESTS + ["b"], "docs": unknown()}
extras["all"] = extras
options = dict(tests_require=TESTS)
if True:
    setup(extras_require=extras, **options)
"""
    )
    assert found == SetupArguments({"test": ["a", "b"], "docs": [], "all": []}, ["a"])


@pytest.mark.parametrize(
    "text", ["setup(", "\0", "setup(extras_require=read())", "x = " + "(" * 5000, "x = " + "-" * 100_000 + "1", ""]
)
def test_what_cannot_be_read_counts_as_not_said(text: str) -> None:
    assert read_setup_py(text) == SetupArguments()


def test_nothing_is_run() -> None:
    assert read_setup_py("raise SystemExit\nimport os\nos.abort()\nsetup(tests_require=['a'])").tests_require == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        "T = ['a', 'b']\nsetup(tests_require=T)",
        "T = U = ['a'] + ['b']\nsetup(tests_require=U)",
        "T: tuple = ('a',)\nT += ('b',)\nsetup(tests_require=T)",
        "T = ['a']\nT.append('b')\nsetup(tests_require=list(T))",
        "T = ['a']\nT.extend(['b'])\nsetup(tests_require=[*T])",
        "kwargs = {'tests_require': ['a', 'b']}\nsetup(**kwargs)",
        "kwargs = dict(name='x')\nkwargs['tests_require'] = ['a', 'b']\nsetup(**kwargs)",
        "kwargs = {}\nkwargs.update(tests_require=['a', 'b'])\nsetup(name='x', **kwargs)",
        "def main():\n    T = ['a', 'b']\n    setup(tests_require=T)\nmain()",
        "if __name__ == '__main__':\n    T = ['a', 'b']\n    setup(tests_require=T)",
        "EXTRAS = {'test': ['a', 'b']}\nsetup(tests_require=EXTRAS['test'])",
        "EXTRAS = {'x': ['a'], 'y': ['b']}\nsetup(tests_require=sum(EXTRAS.values(), []))",
        "EXTRAS = {'x': ['a'], 'y': ['b']}\nsetup(tests_require=[r for rs in EXTRAS.values() for r in rs])",
        "EXTRAS = {'x': ['a'], 'y': ['b']}\nsetup(tests_require=list(itertools.chain(*EXTRAS.values())))",
        "EXTRAS = {'x': ['a'], 'y': ['b']}\nsetup(tests_require={r for k, v in EXTRAS.items() for r in v})",
        "setup(tests_require='a b'.split())",
        "setup(tests_require='a\\n' + 'b')",
        "T = ['a', 'b']\nif old():\n    T += ['backport']\nsetup(tests_require=T)",
        "try:\n    T = ['a', 'b']\nexcept Exception:\n    T = None\nsetup(tests_require=T)",
        "setup(tests_require=['a', unknown(), 'b'])",
        "setup(tests_require=['a', 'b'] + unknown())",
        "setup(tests_require=unknown() or ['a', 'b'])",
    ],
)
def test_values_behind_names(text: str) -> None:
    assert read_setup_py(text).tests_require == ["a", "b"]


@pytest.mark.parametrize(
    "text",
    [
        "E = {'docs': ['s']}\nsetup(extras_require={**E, 'test': ['a']})",
        "E = {'docs': ['s']}\nsetup(extras_require={**E, **{'test': ['a']}, **unknown()})",
        "E = {'docs': ['s']}\nsetup(extras_require=dict(E, test=['a']))",
        "E = {'docs': ['s']}\nsetup(extras_require=E | {'test': ['a']})",
        "E = {'docs': ['s']}\nE.update({'test': ['a']})\nsetup(extras_require=E)",
        "E = {'docs': ['s']}\nE.setdefault('test', ['a'])\nsetup(extras_require=E.copy())",
        "E = {k: [v] for k, v in [('docs', 's'), ('test', 'a')]}\nsetup(**{'extras_require': E})",
    ],
)
def test_dictionaries_in_dictionaries(text: str) -> None:
    assert read_setup_py(text).extras == {"docs": ["s"], "test": ["a"]}


@pytest.mark.parametrize(
    "text",
    [
        "x = ['a']\n" + "x = x + x\n" * 40 + "setup(tests_require=x)",
        "x = 'a'\n" + "x = x + x\n" * 40 + "setup(tests_require=x)",
        "x = ['a']\n" + "x += x\n" * 40,
        "x = ['a']\n" + "x.extend(x)\n" * 40,
        "x = ['a'] * 2\nx = ['a', 'b']\n" + "x = [*x, *x]\n" * 40,
        "x = {'a': 1}\n" + "y = {**x}\n" * 25_000,
        "x = ['a', 'b']\nx = [1" + " for i in x" * 40 + "]",
        "x = [1" + " for i in ['a', 'b']" * 40 + "]",
        "x = [" + "'a'," * 3000 + "]",
    ],
)
def test_what_grows_without_end_is_refused_at_once(text: str) -> None:
    began = time.process_time()
    with pytest.raises(InvalidRequest, match=r"setup\.py is not valid"):
        read_setup_py(text)
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    "text",
    ["d = {}\nd[{}] = 1\n", "d = {}\nd[[]] = d[{}]\n", "d = {[]: 1, None: 2, **[]}\n", "a, b = 'xy'\n", "x += 1\n"],
)
def test_keys_and_targets_that_python_refuses(text: str) -> None:
    assert read_setup_py(text + "setup(tests_require=['a'])").tests_require == ["a"]


def test_escapes_that_python_warns_of(recwarn: pytest.WarningsRecorder) -> None:
    assert read_setup_py("x = '\\d'\nsetup(tests_require=['a'])").tests_require == ["a"]
    assert not recwarn
