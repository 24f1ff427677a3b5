"""Which releases of vLLM the tier is tested with."""
from kvpool._releases import Releases

RELEASES = Releases("kvpool.vllm", "vLLM", "vllm", "0.28", "0.33")


def require_vllm() -> str:
    """The installed version, whatever its package is called. ImportError, with one sentence, outside the tested ones."""
    try:
        import vllm
    except ImportError:
        return RELEASES.require(None)
    return RELEASES.require(str(vllm.__version__))
