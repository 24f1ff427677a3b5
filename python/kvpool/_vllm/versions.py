"""Which releases of vLLM the tier is tested with."""
import re

OLDEST = (0, 28)
NEWEST = (0, 33)


def installed_version() -> str | None:
    try:
        import vllm
    except ImportError:
        return None
    return str(vllm.__version__)


def range_text() -> str:
    return f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"


def complaint(version: str | None) -> str | None:
    """What is wrong with that version, in one sentence; None: nothing."""
    if version is None:
        return f"kvpool.vllm needs vLLM {range_text()}, and none is installed here: install one of these."
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and OLDEST <= (int(numbers[1]), int(numbers[2])) <= NEWEST:
        return None
    return (f"kvpool.vllm is tested with vLLM {range_text()}, and {version} is installed: install one of these, "
            "or a kvpool that names yours.")


def require_vllm() -> str:
    """The installed version. ImportError, with one sentence, where it is outside the tested range."""
    version = installed_version()
    problem = complaint(version)
    if problem is not None or version is None:
        raise ImportError(problem)
    return version
