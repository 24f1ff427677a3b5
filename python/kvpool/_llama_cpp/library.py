"""llama.cpp by its public C API, looked up in the library at run time: every argument is a pointer or an integer."""
import ctypes
import os

_POINTER, _INT, _SIZE, _FLAGS = ctypes.c_void_p, ctypes.c_int32, ctypes.c_size_t, ctypes.c_uint32
_FUNCTIONS = {
    "llama_get_memory": (_POINTER, _POINTER),
    "llama_get_model": (_POINTER, _POINTER),
    "llama_n_ctx": (ctypes.c_uint32, _POINTER),
    "llama_n_ctx_seq": (ctypes.c_uint32, _POINTER),
    "llama_n_seq_max": (ctypes.c_uint32, _POINTER),
    "llama_model_n_swa": (_INT, _POINTER),
    "llama_model_is_recurrent": (ctypes.c_bool, _POINTER),
    "llama_model_is_hybrid": (ctypes.c_bool, _POINTER),
    "llama_memory_seq_cp": (None, _POINTER, _INT, _INT, _INT, _INT),
    "llama_memory_seq_rm": (ctypes.c_bool, _POINTER, _INT, _INT, _INT),
    "llama_memory_seq_pos_min": (_INT, _POINTER, _INT),
    "llama_memory_seq_pos_max": (_INT, _POINTER, _INT),
    "llama_state_seq_get_size_ext": (_SIZE, _POINTER, _INT, _FLAGS),
    "llama_state_seq_get_data_ext": (_SIZE, _POINTER, _POINTER, _SIZE, _INT, _FLAGS),
    "llama_state_seq_set_data_ext": (_SIZE, _POINTER, _POINTER, _SIZE, _INT, _FLAGS),
    "llama_state_seq_save_file": (_SIZE, _POINTER, ctypes.c_char_p, _INT, _POINTER, _SIZE),
}
STATE_VERSIONS = (3,)  # of LLAMA_STATE_SEQ_VERSION, tested


class Context:
    """One llama_context. Not owned: it has to outlive this object. Threads: the context's, one at a time."""

    def __init__(self, library, context):
        """`library`: a ctypes.CDLL or the path of libllama; `context`: the address of a llama_context. Raises
        ValueError with one sentence where the context cannot have its sequences cut into ranges."""
        library = library if isinstance(library, ctypes.CDLL) else ctypes.CDLL(os.fspath(library))
        for name, (result, *arguments) in _FUNCTIONS.items():
            try:  # pointers of our own: the library object's may have been given other types
                function = ctypes.CFUNCTYPE(result, *arguments)((name, library))
            except AttributeError:
                raise ValueError(f"kvpool.llama_cpp: this libllama has no {name}: take llama-cpp-python 0.3.36, or the "
                                 "llama.cpp that comes with it") from None
            setattr(self, name.removeprefix("llama_"), function)
        self._context = getattr(context, "value", context)
        self._memory = self._context and self.get_memory(self._context)
        if not self._memory:
            raise ValueError("kvpool.llama_cpp: there is no context with a KV cache at this address: give the "
                             "llama_context of a model that generates text")
        self.tokens_max = self.n_ctx(self._context)
        self.sequences = self.n_seq_max(self._context)
        self._check()
        self.scratch = self.sequences - 1
        model = self.get_model(self._context)
        self.window = max(0, self.model_n_swa(model))  # of sliding layers, in tokens; 0: there are none
        self.state_version = self._state_version()

    def _check(self):
        if self.sequences < 2:
            raise ValueError("kvpool.llama_cpp: the context has one sequence, and chunks pass through a second one: "
                             "set n_seq_max to 2 or more, as kvpool.llama_cpp.load does")
        if self.n_ctx_seq(self._context) != self.tokens_max:
            raise ValueError("kvpool.llama_cpp: each sequence of the context has a KV cache of its own, which "
                             "llama.cpp copies only as a whole: set kv_unified to true, as kvpool.llama_cpp.load does")
        model = self.get_model(self._context)
        if self.model_is_recurrent(model) or self.model_is_hybrid(model):
            raise ValueError("kvpool.llama_cpp: a recurrent model keeps one state and not one for each token, so it "
                             "has no chunks to store: use a model with attention alone")

    def _state_version(self):
        """LLAMA_STATE_SEQ_VERSION of the library that runs. Only its files tell it: in the second of their numbers."""
        self.remove(self.scratch)
        file = os.memfd_create("kvpool-llama")
        try:
            path = f"/proc/self/fd/{file}".encode()
            self.state_seq_save_file(self._context, path, self.scratch, ctypes.create_string_buffer(4), 0)
            version = int.from_bytes(os.pread(file, 4, 4), "little")
        finally:
            os.close(file)
        if version not in STATE_VERSIONS:
            tested = " and ".join(map(str, STATE_VERSIONS))
            raise ValueError(f"kvpool.llama_cpp: this libllama writes sequence states of version {version}, tested is "
                             f"{tested}: take llama-cpp-python 0.3.36, or a kvpool made for this one")
        return version

    def first(self, sequence):
        """Its smallest position; with sliding layers, theirs. -1: none."""
        return self.memory_seq_pos_min(self._memory, sequence)

    def last(self, sequence):
        return self.memory_seq_pos_max(self._memory, sequence)

    def share(self, source, target, begin=-1, end=-1):
        """Positions [begin, end) of `source` belong to `target`, too. No bytes move."""
        self.memory_seq_cp(self._memory, source, target, begin, end)

    def remove(self, sequence, begin=-1, end=-1):
        self.memory_seq_rm(self._memory, sequence, begin, end)

    def size(self, sequence):
        return self.state_seq_get_size_ext(self._context, sequence, 0)

    def read(self, sequence, address, nbytes):
        """Writes the sequence's state to memory; how many bytes, 0 where that failed."""
        return self.state_seq_get_data_ext(self._context, address, nbytes, sequence, 0)

    def write(self, sequence, address, nbytes):
        """Makes the sequence what was read; False where llama.cpp refuses the bytes or has no room."""
        return self.state_seq_set_data_ext(self._context, address, nbytes, sequence, 0) != 0
