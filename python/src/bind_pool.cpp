#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "python/src/bind.h"
#include "python/src/channel_core.h"
#include "python/src/errors.h"
#include "python/src/info.h"
#include "python/src/memory.h"
#include "python/src/pool_handle.h"
#include "python/src/space_handle.h"

namespace kvpool::python {
namespace {

using Seconds = Call::Seconds;

std::filesystem::path PathOf(py::handle path) {
  PyObject* bytes = nullptr;
  if (PyUnicode_FSConverter(path.ptr(), &bytes) == 0) throw py::error_already_set();
  return py::reinterpret_steal<py::bytes>(bytes).cast<std::string>();
}

std::shared_ptr<PoolHandle> Open(py::handle config, bool create) {
  return PoolHandle::Open(PathOf(config), create);
}

void Create(py::handle config) {
  const std::filesystem::path path = PathOf(config);
  Result<void> created;
  {
    const py::gil_scoped_release release;
    const auto loaded = Config::Load(path);
    created = loaded ? Pool::Create(*loaded) : tl::unexpected(loaded.error());
  }
  ValueOrRaise(std::move(created));
}

std::unique_ptr<SpaceHandle> OpenSpace(std::shared_ptr<PoolHandle> handle, std::string model,
                                       std::string dtype, std::string layout,
                                       std::string layer_group, std::string rank,
                                       std::string engine, std::string tenant_salt,
                                       std::string owner, std::int64_t layers) {
  SpaceSpec spec{std::move(model),       std::move(dtype), std::move(layout),
                 std::move(layer_group), std::move(rank),  std::move(engine),
                 std::move(tenant_salt), std::move(owner)};
  // What does not fit is out of range either way.
  spec.layers = layers < 0 || layers > UINT32_MAX ? 0 : static_cast<std::uint32_t>(layers);
  return std::make_unique<SpaceHandle>(std::move(handle), spec);
}

py::dict Info(PoolHandle& handle) {
  handle.CheckProcess();
  PoolInfo info;
  {
    const UnlockedUse use(handle.uses(), kThePool);
    info = handle.pool().info();
  }
  return InfoDict(info);
}

py::list Put(const SpaceHandle& space, py::object keys, py::object blocks,
             std::optional<std::uint64_t> ordinal, py::object parent, bool durable, bool background,
             Seconds deadline) {
  Call call(space.space(), keys, blocks,
            PutOptions{ordinal, std::move(parent), durable, background}, deadline);
  return space.Complete(call);
}

py::list Get(const SpaceHandle& space, py::object keys, py::object into, bool background,
             Seconds deadline) {
  Call call(space.space(), keys, into, background, deadline);
  return space.Complete(call);
}

py::list Drop(const SpaceHandle& space, py::object keys, Seconds deadline) {
  Call call(Call::kDrop, space.space(), keys, deadline);
  return space.Complete(call);
}

py::list Flush(const SpaceHandle& space, py::object keys, Seconds deadline) {
  Call call(Call::kFlush, space.space(), keys, deadline);
  return space.Complete(call);
}

}  // namespace

void BindSpace(py::module_& module) {
  using py::arg;
  py::class_<SpaceHandle>(module, "Space",
                          "A namespace: bytes that were put under another spec are never found "
                          "here. Threads: any. The blocking calls release the GIL; they give a "
                          "Status for each key and raise for the request as a whole.")
      .def("match", &SpaceHandle::Match, arg("keys"),
           "How many leading keys are present. In memory, no side effect, never waits for I/O.")
      .def("contains", &SpaceHandle::Contains, arg("keys"), "Key by key, whether it is present.")
      .def("put", &Put, arg("keys"), arg("blocks"), py::kw_only(), arg("ordinal") = py::none(),
           arg("parent") = py::bytes(), arg("durable") = false, arg("background") = false,
           arg("deadline") = py::none(),
           "Stores the blocks of keys that are absent. A block is one buffer or a sequence of "
           "them, the same number for every key. `ordinal`: keys[i] is block ordinal + i of its "
           "context, and `parent` the key before keys[0]; None: no chain is known. `durable`: on "
           "drives only, and a power cut would not lose it. `background`: behind all that others "
           "ask for, in the time that they leave. `deadline`: seconds; None: the pool file's.")
      .def("get", &Get, arg("keys"), arg("into"), py::kw_only(), arg("background") = false,
           arg("deadline") = py::none(),
           "Brings blocks back into writable buffers, which may be longer. The bytes of a key that "
           "is not OK are undefined: INVALID where its buffers are too short, NOT_FOUND where it "
           "has to be computed. `background`: as in put.")
      .def("drop", &Drop, arg("keys"), py::kw_only(), arg("deadline") = py::none(),
           "Removes blocks: OK or NOT_FOUND for each.")
      .def("flush", &Flush, arg("keys") = py::tuple(), py::kw_only(), arg("deadline") = py::none(),
           "Returns when the named blocks are durable, or without keys all that was put before, "
           "with one result for the whole. UNSUPPORTED for blocks of a pool without a catalog.");
}

void BindPool(py::module_& module) {
  using py::arg;
  const char* const none = "";
  py::class_<PoolHandle, std::shared_ptr<PoolHandle>>(
      module, "Pool",
      "The memory and the drives that a pool file describes. Spaces and channels keep it open; "
      "close() ends it before. Threads: any.")
      .def_static("open", &Open, arg("config"), py::kw_only(), arg("create") = false,
                  "Opens the pool of a pool file (its path). In one process, a second open of the "
                  "same file gives the same pool, which closes with its last handle. `create`: "
                  "makes it first where nothing is there.")
      .def_static("create", &Create, arg("config"),
                  "Makes the files and the catalog that a pool file names. Raises Exists where "
                  "something is there.")
      .def("space", &OpenSpace, py::kw_only(), arg("model"), arg("dtype") = none,
           arg("layout") = none, arg("layer_group") = none, arg("rank") = none,
           arg("engine") = none, arg("tenant_salt") = none, arg("owner") = none, arg("layers") = 1,
           "Opens the space of blocks that agree in all of this. A block is `layers` equal runs "
           "of bytes, layer 0 first; 1 where that is unknown. `owner`: a tenant of the daemon's; "
           "empty: the client's own.")
      .def("channel", &ChannelCore::Open, "Opens a channel for asynchronous requests.")
      .def("allocate", &Allocate, arg("nbytes"), py::kw_only(), arg("numa_node") = -1,
           arg("shareable") = false,
           "2 MiB-aligned memory for transfers without a copy, on hugepages where free. "
           "`shareable`: "
           "a memfd, which other processes can map by Memory.fileno(). A daemon's client gets "
           "nothing else.")
      .def(
          "register",
          [](PoolHandle& handle, py::handle buffer) {
            return std::make_unique<Registration>(handle, buffer);
          },
          arg("buffer"),
          "Prepares the caller's memory for transfers; keep the result for as long as it is used. "
          "Any memory works without.")
      .def("info", &Info, "What the pool and its devices hold, do and did, by name.")
      .def("close", &PoolHandle::Close,
           "Waits for what is in flight, then closes. Channels and spaces of this handle raise "
           "Cancelled afterwards. Idempotent.")
      .def("__enter__", [](py::object self) { return self; })
      .def("__exit__", [](PoolHandle& self, const py::args&) { self.Close(); });
}

}  // namespace kvpool::python
