"""The shell text that installs: with uv where it gives the same result, else with pip, and the log says which."""

import re
import shlex
from typing import Literal

from ci_common.spec import DOWNLOADED
from ci_server.detection.python.pip_install import Calls

Installer = Literal["auto", "uv", "pip"]

UV = "${CI_UV:-/ci-tools/uv}"
"""Where a job finds uv: the controller mounts it there, or says where it is."""
BUILD_TOOLS = "${VIRTUAL_ENV:-$HOME}/.ci-build"
"""Where the requirements of the project's own build are, apart from what the tests see."""

ALONE = "ci_install_alone"
"""The function that installs what needs nothing to be downloaded."""

_SETTINGS = (
    *("INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX", "CONFIG_FILE", "CONSTRAINT", "REQUIREMENT", "PRE"),
    *("NO_BINARY", "ONLY_BINARY", "PREFER_BINARY", "REQUIRE_HASHES", "TARGET", "PREFIX", "USER", "TRUSTED_HOST"),
    *("NO_BUILD_ISOLATION", "NO_DEPS", "IGNORE_INSTALLED", "UPGRADE_STRATEGY", "PLATFORM", "GLOBAL_OPTION"),
)
"""The settings of pip, as variables, that uv does not read."""
_ANY_SETTING = "".join(f"${{PIP_{name}-}}" for name in _SETTINGS)
_CONFIGURATIONS = (
    *("/etc/xdg/pip/pip.conf", "/etc/pip.conf", "$HOME/.pip/pip.conf", "$HOME/.config/pip/pip.conf"),
    "${VIRTUAL_ENV:-/}/pip.conf",
)
_HAS_CONFIGURATION = " || ".join(f'[ -e "{path}" ]' for path in _CONFIGURATIONS)

_OF_DOWNLOADS = (
    *("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "cert", "client-cert", "proxy"),
    *("timeout", "retries", "cache-dir", "no-cache-dir", "pre", "prefer-binary", "no-binary", "only-binary"),
    *("disable-pip-version-check", "progress-bar", "no-color", "quiet", "verbose", "no-input", "root-user-action"),
    *("require-virtualenv", "no-warn-script-location", "break-system-packages", "upgrade-strategy"),
    "constraint",  # Of what is downloaded: without dependencies, only the project itself could be constrained.
)
"""The settings of pip that do not matter where nothing is downloaded."""
_MATTERING = "".join(
    f"${{PIP_{name}-}}"
    for name in (*("REQUIREMENT", "EDITABLE", "REQUIRE_HASHES", "TARGET", "PREFIX", "ROOT", "USER"),
                 *("GLOBAL_OPTION", "CONFIG_SETTINGS", "CONFIG_SETTING", "DRY_RUN", "PYTHON", "NO_COMPILE"))
)  # fmt: skip
_HARMLESS_LINE = (
    f"^[[:space:]]*($|[#;[]|({'|'.join(_OF_DOWNLOADS)})[[:space:]]*[=:])|"
    "^[[:space:]]+(https?://|file:|[./])[^=[:space:]]*[[:space:]]*$"  # More of the value above.
)
_CHOICE = f"""\
ci_uv=; ci_python=$(command -v python) || ci_python=python
if ! ci_version=$("{UV}" --version 2>/dev/null); then ci_pip='uv does not run here'
elif [ -n "{_ANY_SETTING}" ]; then ci_pip='there are settings of pip'
elif {_HAS_CONFIGURATION}; then ci_pip='there is a configuration of pip'
else ci_uv="{UV}"; fi
"""
_MEMORY = "/dev/shm"  # noqa: S108  # of the container alone
_DOWNLOADED = f"""\
ci_link() {{
    [ -d "$1" ] && [ "$(find "$1" | head -n 20001 | wc -l)" -le 20000 ] || return
    [ ! -d "$2" ] || return 0
    rm -rf "$2.new" && mkdir -p "$2.new" || return
    for ci_part in "$1"/*; do
        case "$ci_part" in
        */archive-v*|*/http*) cp -Rs "$ci_part" "$2.new/" ;;
        */simple-v*|*/wheels-v*|*/sdists-v*|*/wheels) cp -R "$ci_part" "$2.new/" ;;
        esac || {{ rm -rf "$2.new"; return 1; }}
    done
    mv "$2.new" "$2"
}}
ci_home="${{VIRTUAL_ENV:-$HOME}}"; ci_links=
if [ -z "${{UV_CACHE_DIR-}}${{UV_LINK_MODE-}}" ]; then ci_links={_MEMORY}/.ci-uv; fi
if [ -z "${{PIP_CACHE_DIR-}}" ] && ci_link {DOWNLOADED}/pip "$ci_home/.ci-pip"; then
    export PIP_CACHE_DIR="$ci_home/.ci-pip"
fi 2>/dev/null
"""
"""Gives the job caches of its own, with links to what setups of its project have downloaded, which it can only read: uv
and pip take no cache that they cannot write. With very many files, the links would take longer than a download. Those
for uv are made in memory, since each of 7,000 new files on the disk of a new container takes up to a millisecond, and
are gone after the installation, for the tests may need that memory."""
_INSTALL = f"""\
ci_install() {{
    if [ -n "$ci_uv" ]; then
        if [ -n "$ci_links" ] && ci_link {DOWNLOADED}/uv "$ci_links" 2>/dev/null; then
            ci_status=0
            UV_CACHE_DIR="$ci_links" UV_LINK_MODE=copy \\
                "$ci_uv" pip install --no-progress --python "$ci_python" "$@" || ci_status=$?
            rm -rf "$ci_links"
            [ "$ci_status" -ne 0 ] || return 0
            echo 'ci: again without what was downloaded before'
        fi
        "$ci_uv" pip install --no-progress --python "$ci_python" "$@" && return
        echo 'ci: uv cannot install this, so pip does'
    fi
    python -m pip install "$@"
}}
"""
_SAY = """\
if [ -n "$ci_uv" ]; then echo "ci: installing with $ci_version"
else echo "ci: installing with pip, because $ci_pip"; fi
"""
_ALONE = f"""\
ci_python=${{ci_python:-$(command -v python)}} || ci_python=python
ci_is_harmless() {{
    [ -z "{_MATTERING}" ] || return
    for ci_file in {" ".join(f'"{path}"' for path in (*_CONFIGURATIONS, "${PIP_CONFIG_FILE-}"))}; do
        if [ -f "$ci_file" ]; then
            if grep -Eqv '{_HARMLESS_LINE}' "$ci_file"; then return 1; else [ "$?" -eq 1 ] || return 1; fi
        fi
    done
}}
ci_alone=$ci_uv
if [ -z "$ci_uv" ] && ci_version=$("{UV}" --version 2>/dev/null) && ci_is_harmless; then ci_alone="{UV}"; fi
if [ -n "$ci_alone" ]; then echo "ci: installing the project with $ci_version"
else echo "ci: installing the project with pip, because $ci_pip"; fi
{ALONE}() {{
    if [ -n "$ci_alone" ]; then
        "$ci_alone" pip install --no-progress --no-config --python "$ci_python" "$@" && return
        echo 'ci: uv cannot install this, so pip does'
    fi
    python -m pip install "$@"
}}
"""
"""For a project that is installed without what it needs: settings that say where to download from do not matter."""


_CALL = re.compile(r"(?<![\w./-])ci_install(_alone)?(?![\w./-])")


def preamble(installer: Installer, needs_pip: str, *, alone: bool = False) -> str:
    """Return the text that defines `ci_install`, for `calls`, and says what it uses.

    With `alone`, it also defines `ALONE`, for calls that download nothing, and says what that uses.
    """
    if installer == "pip":
        return f"ci_uv=\n{_DOWNLOADED}{_INSTALL}" + (f'{ALONE}() {{ ci_install "$@"; }}\n' if alone else "")
    choice = f"ci_uv=\nci_pip={shlex.quote(needs_pip)}\n" if needs_pip and installer == "auto" else _CHOICE
    return f"{choice}{_DOWNLOADED}{_INSTALL}{_ALONE if alone else _SAY}"


def with_installer(text: str, installer: Installer) -> str:
    """Return shell text of a step, with `ci_install` and `ci_install_alone` defined if they are called."""
    called = {match[0] for match in _CALL.finditer(text)}
    return preamble(installer, "", alone=ALONE in called) + text if called else text


def calls(arguments: Calls, function: str = "ci_install") -> str:
    """Return the text that installs with these arguments of pip, call by call, as one command."""
    return " && ".join(shlex.join([function, *words]) for words in arguments)


def install_build_tools(requirements: list[str]) -> str:
    """Return the text that installs the requirements of the project's build apart from everything else."""
    return f'ci_install --target "{BUILD_TOOLS}" {shlex.join(requirements)}\n' if requirements else ""


def with_build_tools(command: str) -> str:
    """Return the text that runs a command which finds the requirements of the project's build."""
    paths = 'PYTHONPATH="$ci_tools${PYTHONPATH:+:$PYTHONPATH}" PATH="$PATH:$ci_tools/bin"'
    return f'( ci_tools="{BUILD_TOOLS}"; export {paths}; {command} )'
