"""Which releases of transformers are taken."""
import re
from typing import Any

OLDEST, NEWEST = (5, 19), (5, 24)  # both tested: tests/engines/transformers/run


def require_transformers(module: Any) -> None:
    """Raises ImportError, one sentence, outside the tested range: what a layer keeps changes between releases."""
    found = tuple(int(number) for number in re.findall(r"\d+", module.__version__)[:2])
    if not OLDEST <= found <= NEWEST:
        raise ImportError(
            f"kvpool.transformers is tested with transformers {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}, and "
            f"this is {module.__version__}: install one of these, such as transformers=={NEWEST[0]}.{NEWEST[1]}.0")
