"""The releases of an engine that one of kvpool's modules is tested with, and what is said of others."""
import importlib.metadata
import re
from dataclasses import dataclass


def _numbers(version: str) -> tuple[int, ...]:
    """Those in front: 0.32.1rc1 is (0, 32, 1), and what has none is before everything."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(number) for number in found[0].split(".")) if found else ()


def installed(package: str) -> str | None:
    """The version of an installed package; None: there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Releases:
    """From `oldest` to `newest`, both tested. Of a version as many numbers count as the newest has."""
    module: str   # of kvpool
    engine: str
    package: str  # its name for pip
    oldest: str
    newest: str
    error: type[Exception] = ImportError

    def complaint(self, version: str | None) -> str | None:
        """What is wrong with the installed version, in one sentence; None: nothing."""
        newest = _numbers(self.newest)
        tested = self.newest if self.oldest == self.newest else f"{self.oldest} to {self.newest}"
        install = f"install {self.package}=={self.newest}"
        if version is None:
            return f"{self.module} is tested with {self.engine} {tested}, and none is installed: {install}"
        if _numbers(self.oldest) <= _numbers(version)[:len(newest)] <= newest:
            return None
        return (f"{self.module} is tested with {self.engine} {tested}, and this is {version}: {install}, or a kvpool "
                f"made for {version}")

    def require(self, version: str | None) -> str:
        """The version. Raises `error` with the sentence where it is not one of these."""
        problem = self.complaint(version)
        if problem is not None or version is None:
            raise self.error(problem)
        return version
