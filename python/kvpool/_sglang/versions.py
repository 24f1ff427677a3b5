"""Which releases of SGLang are taken."""
import importlib.metadata
import re

OLDEST, NEWEST = (0, 5, 16), (0, 5, 23)  # both tested: tests/engines/sglang/run


def require_sglang() -> str:
    """The installed version. Raises ImportError, one sentence, outside the tested range."""
    try:
        version = importlib.metadata.version("sglang")
    except importlib.metadata.PackageNotFoundError:
        raise ImportError("kvpool.sglang is a storage backend for SGLang, which is not installed here: install "
                          "sglang==" + ".".join(map(str, NEWEST))) from None
    found = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if not OLDEST <= found <= NEWEST:
        oldest, newest = (".".join(map(str, one)) for one in (OLDEST, NEWEST))
        raise ImportError(f"kvpool.sglang is tested with SGLang {oldest} to {newest}, and this is {version}: install "
                          f"one of these, such as sglang=={newest}")
    return version
