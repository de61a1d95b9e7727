"""The images of the tests, made from a static busybox and from Debian's packages; each is built once per recipe.

Their tags hold a digest of the recipe, so a changed recipe makes a new image.
"""

import fcntl
import hashlib
import inspect
import io
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.engine.api import EngineAPI, EngineError, cache_directory
from tests.engine.packages import install_packages

DEFAULT_IMAGE = "python:3.12-slim"
"""The product's default image. Only where it cannot be had, the stand-in gets this name, too."""
DEFAULT_MIRROR = "http://deb.debian.org/debian"
COMPILER_IMAGE = "python:3.12"
"""The image of the same makers that has compilers. It, too, has a stand-in where it cannot be had."""
SUITE = "bookworm"
STANDIN_PACKAGES = ["ca-certificates", "python3", "python3-pip", "python3-venv"]
COMPILERS = ["g++", "git", "make", "pkg-config", "python3-dev"]
POSTGRESQL = [
    "ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8",
    "VOLUME /var/lib/postgresql",
    "USER postgres",
    "HEALTHCHECK CMD pg_isready --quiet",
    'CMD ["postgres", "-D", "/var/lib/postgresql/15/main", "-c", "listen_addresses=*", '
    '"-c", "config_file=/etc/postgresql/15/main/postgresql.conf"]',
]
TOOLCHAINS = ["ca-certificates", "golang-go", "cargo", "gcc", "libc6-dev"]
PASSWD = "root:x:0:0:root:/root:/bin/sh\njob:x:1000:1000:job:/home:/bin/sh\n"


def busybox_image(engine: EngineAPI) -> str:
    """Return the name of an image that holds busybox with all its applets and runs as root."""
    return _imported(engine, "ci-test-busybox", busybox_layer, [])


def user_image(engine: EngineAPI) -> str:
    """Return the name of a busybox image whose USER is not root."""
    return _imported(engine, "ci-test-busybox-user", busybox_layer, ["USER 1000:1000"])


def volume_image(engine: EngineAPI, path: str) -> str:
    """Return the name of a busybox image that has a volume at `path`."""
    return _imported(engine, "ci-test-busybox-volume", busybox_layer, [f"VOLUME {path}"])


def no_shell_image(engine: EngineAPI) -> str:
    """Return the name of an image that holds one program, which is no shell."""
    return _imported(engine, "ci-test-no-shell", no_shell_layer, ['CMD ["/bin/true"]'])


def python_image(engine: EngineAPI) -> str:
    """Return the name of an image with Python and pip that can be used like the product's default image."""
    return _pulled_or_standin(engine, DEFAULT_IMAGE, STANDIN_PACKAGES)


def compiler_image(engine: EngineAPI) -> str:
    """Return the name of an image like the default one that also has compilers for C and C++, and git."""
    return _pulled_or_standin(engine, COMPILER_IMAGE, [*STANDIN_PACKAGES, *COMPILERS])


def _pulled_or_standin(engine: EngineAPI, name: str, packages: list[str]) -> str:
    with _lock(f"image-{name.replace(':', '-')}"):
        if not engine.has_image(name) and not engine.pull_image(name):
            engine.tag_image(_standin_image(engine, name, packages), name)
    return name


def _standin_image(engine: EngineAPI, instead_of: str, packages: list[str]) -> str:
    """Return the name of an image made of Debian's packages that behaves like one of Python's."""
    recipe = inspect.getsource(_debootstrap) + SUITE + " ".join(packages)
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    name = f"ci-test-python-standin:{digest}"
    with _lock("standin-image"):
        if not engine.has_image(name):
            archive = cache_directory() / f"standin-{digest}.tar"
            if not archive.exists():
                _say(f"building a stand-in for {instead_of} from Debian's packages, once; this takes a minute")
                _debootstrap(archive, packages)
            with archive.open("rb") as layer:
                engine.import_image(name, layer, ["ENV LANG=C.UTF-8", 'CMD ["python3"]'])
    return name


def postgresql_image(engine: EngineAPI) -> str:
    """Return the name of an image with PostgreSQL, made of Debian's packages: a volume, a health check, no password."""
    recipe = inspect.getsource(_debootstrap_postgresql) + SUITE + "".join(POSTGRESQL)
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    name = f"ci-test-postgresql:{digest}"
    with _lock("postgresql-image"):
        if not engine.has_image(name):
            archive = cache_directory() / f"postgresql-{digest}.tar"
            if not archive.exists():
                _say("building an image of PostgreSQL from Debian's packages, once; this takes a minute")
                _debootstrap_postgresql(archive)
            with archive.open("rb") as layer:
                engine.import_image(name, layer, POSTGRESQL)
    return name


def toolchains_image(engine: EngineAPI) -> str:
    """Return the name of an image with Go and Rust of Debian's packages, and with this machine's Node.js, if any."""
    node = _node_files()
    version = _run([str(node[0]), "--version"]) if node else ""
    recipe = inspect.getsource(_debootstrap_toolchains) + SUITE + "".join(TOOLCHAINS) + version
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    name = f"ci-test-toolchains:{digest}"
    with _lock("toolchains-image"):
        if not engine.has_image(name):
            archive = cache_directory() / f"toolchains-{digest}.tar"
            if not archive.exists():
                _say("building an image of Go, Rust and Node.js, once; this takes some minutes")
                _debootstrap_toolchains(archive, node)
            with archive.open("rb") as layer:
                engine.import_image(name, layer, ["CMD /bin/sh"])
    return name


def build_all(engine: EngineAPI) -> None:
    """Make every image, so that no test has to wait for it."""
    for build in (busybox_image, user_image, no_shell_image, python_image):
        build(engine)


def busybox_layer() -> bytes:
    """Return a tar archive of a system that is busybox and nothing else."""
    binary = _busybox()
    applets = subprocess.run([binary, "--list"], check=True, capture_output=True, text=True).stdout.split()
    with _archive() as (archive, result):
        for directory, mode in (("bin", 0o755), ("etc", 0o755), ("home", 0o777), ("root", 0o700), ("tmp", 0o1777)):
            _add_directory(archive, directory, mode)
        _add_file(archive, "bin/busybox", binary.read_bytes(), 0o755)
        _add_file(archive, "etc/passwd", PASSWD.encode(), 0o644)
        for applet in sorted({*applets, "sh"} - {"busybox"}):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return result.getvalue()


def no_shell_layer() -> bytes:
    """Return a tar archive that holds a static `/bin/true` only."""
    with _archive() as (archive, result):
        _add_directory(archive, "bin", 0o755)
        _add_file(archive, "bin/true", _busybox().read_bytes(), 0o755)
    return result.getvalue()


def _imported(engine: EngineAPI, repository: str, layer_of: object, changes: list[str]) -> str:
    assert callable(layer_of)
    layer: bytes = layer_of()
    digest = hashlib.sha256(layer + "\n".join(changes).encode()).hexdigest()[:12]
    name = f"{repository}:{digest}"
    with _lock(repository):
        if not engine.has_image(name):
            engine.import_image(name, layer, changes)
    return name


def _debootstrap(target: Path, packages: list[str]) -> None:
    """Write a stand-in's only layer to `target`."""
    install_packages(["debootstrap"])
    mirror = os.environ.get("DEBIAN_MIRROR", DEFAULT_MIRROR)
    with tempfile.TemporaryDirectory(prefix="ci-standin-", dir="/var/tmp") as folder:
        root = Path(folder, "root")
        include = f"--include={','.join(packages)}"
        _run(["debootstrap", "--variant=minbase", include, SUITE, str(root), mirror])
        # As in the official image: pip installs into the system, and Python is called python, too.
        for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            marker.unlink()
        (root / "usr/bin/python").symlink_to("python3")
        shutil.rmtree(root / "var/cache/apt/archives")
        shutil.rmtree(root / "var/lib/apt/lists")
        draft = target.with_suffix(".new")
        _run(["tar", "-C", str(root), "--numeric-owner", "-cf", str(draft), "."])
        draft.replace(target)


def _debootstrap_postgresql(target: Path) -> None:
    """Write the only layer of the image of PostgreSQL to `target`."""
    install_packages(["debootstrap"])
    mirror = os.environ.get("DEBIAN_MIRROR", DEFAULT_MIRROR)
    with tempfile.TemporaryDirectory(prefix="ci-postgresql-", dir="/var/tmp") as folder:
        root = Path(folder, "root")
        _run(["debootstrap", "--variant=minbase", "--include=postgresql", SUITE, str(root), mirror])
        (settings,) = root.glob("etc/postgresql/*/main")
        (settings / "pg_hba.conf").write_text("local all all trust\nhost all all all trust\n")
        for archives in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"):
            shutil.rmtree(root / archives)
        draft = target.with_suffix(".new")
        _run(["tar", "-C", str(root), "--numeric-owner", "-cf", str(draft), "."])
        draft.replace(target)


def _debootstrap_toolchains(target: Path, node: list[Path]) -> None:
    """Write the only layer of the image of toolchains to `target`."""
    install_packages(["debootstrap"])
    mirror = os.environ.get("DEBIAN_MIRROR", DEFAULT_MIRROR)
    with tempfile.TemporaryDirectory(prefix="ci-toolchains-", dir="/var/tmp") as folder:
        root = Path(folder, "root")
        _run(["debootstrap", "--variant=minbase", f"--include={','.join(TOOLCHAINS)}", SUITE, str(root), mirror])
        for archives in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"):
            shutil.rmtree(root / archives)
        for path in node:
            folder = root / path.parent.relative_to("/")
            folder.mkdir(parents=True, exist_ok=True)  # `cp --parents` of coreutils 9.1 fails at an absolute path.
            _run(["cp", "--archive", str(path), str(folder)])
        draft = target.with_suffix(".new")
        _run(["tar", "-C", str(root), "--numeric-owner", "-cf", str(draft), "."])
        draft.replace(target)


def _node_files() -> list[Path]:
    """Return where Node.js is on this machine, the program first; empty if it has none."""
    node = shutil.which("node")
    if node is None:
        return []
    prefix = Path(node).parent.parent
    names = ("bin/npm", "bin/npx", "bin/corepack", "lib/node_modules/npm", "lib/node_modules/corepack")
    return [Path(node), *(prefix / name for name in names if (prefix / name).exists())]


def _run(command: list[str]) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise EngineError(f"{command[0]} failed with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


def _busybox() -> Path:
    """Return a statically linked busybox, from this machine or from Debian's package."""
    for _ in range(2):
        found = next((p for p in (Path("/bin/busybox"), Path("/usr/bin/busybox")) if _is_static(p)), None)
        if found is not None:
            return found
        install_packages(["busybox-static"])
    raise EngineError("the tests' images need a statically linked /bin/busybox (Debian's package busybox-static)")


def _is_static(binary: Path) -> bool:
    """Tell whether `binary` is a 64-bit little-endian ELF file that names no interpreter."""
    if not binary.is_file():
        return False
    content = binary.read_bytes()
    if content[:6] != b"\x7fELF\x02\x01":
        return False
    table, size, count = struct.unpack_from("<Q", content, 32)[0], *struct.unpack_from("<HH", content, 54)
    interpreter = 3
    return all(struct.unpack_from("<I", content, table + n * size)[0] != interpreter for n in range(count))


@contextmanager
def _archive() -> Iterator[tuple[tarfile.TarFile, io.BytesIO]]:
    result = io.BytesIO()
    with tarfile.open(fileobj=result, mode="w") as archive:
        yield archive, result


def _add_directory(archive: tarfile.TarFile, name: str, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    archive.addfile(info)


def _add_file(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.mode, info.size = mode, len(content)
    archive.addfile(info, io.BytesIO(content))


@contextmanager
def _lock(name: str) -> Iterator[None]:
    """Let one process at a time build, for tests run in several."""
    with (cache_directory() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    print(f"tests.engine: {text}", file=sys.stderr, flush=True)
