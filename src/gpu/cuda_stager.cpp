#include "gpu/cuda_stager.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <set>

#include "base/check.h"
#include "gpu/cuda_exporter.h"
#include "gpu/cuda_queue.h"
#include "mem/region.h"

namespace kvpool::gpu {
namespace {

// The node of the GPU's slot, if it has memory; -1 otherwise.
int NodeOf(const std::filesystem::path& pci_devices, std::string bus_id) {
  std::transform(bus_id.begin(), bus_id.end(), bus_id.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::ifstream file(pci_devices / bus_id / "numa_node");
  int node = -1;
  file >> node;
  if (!file) return -1;
  const auto nodes = mem::MemoryNodes();
  const bool has_memory =
      std::any_of(nodes.begin(), nodes.end(), [&](const auto& one) { return one.node == node; });
  return has_memory ? node : -1;
}

// Memory that another process has allocated.
class CudaImport final : public ImportedMemory {
 public:
  static Result<std::unique_ptr<ImportedMemory>> Open(const std::shared_ptr<CudaContext>& context,
                                                      const Handle& handle, std::uint64_t bytes) {
    cuda::IpcHandle opaque;
    std::memcpy(opaque.bytes, handle.bytes.data(), sizeof opaque);
    cuda::Address address = 0;
    const CudaContext::Current current(*context);
    const auto code = context->call.ipc_open(&address, opaque, cuda::kIpcLazyPeerAccess);
    if (code != cuda::kSuccess) {
      return Fail(Status::kInvalid,
                  fmt::format("the GPU memory cannot be opened here: {}: see that both processes "
                              "see this GPU, and that the memory is there",
                              cuda::Words(context->call, "cuIpcOpenMemHandle", code)));
    }
    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    auto* const data = reinterpret_cast<std::byte*>(address);
    std::unique_ptr<ImportedMemory> opened(new CudaImport(context, {data, bytes}));
    const CudaMemory memory = context->MemoryAround(data);
    if (memory.ordinal == context->ordinal && memory.allocation.Holds(data, bytes)) return opened;
    return Fail(Status::kInvalid,
                "the GPU memory is not what it is said to be: it is smaller, or on another GPU");
  }
  ~CudaImport() override {
    const CudaContext::Current current(*context_);
    context_->Check("cuIpcCloseMemHandle",
                    context_->call.ipc_close(reinterpret_cast<cuda::Address>(bytes_.data())));
  }
  std::span<std::byte> bytes() const override { return bytes_; }

 private:
  CudaImport(std::shared_ptr<CudaContext> context, std::span<std::byte> bytes)
      : context_(std::move(context)), bytes_(bytes) {}

  const std::shared_ptr<CudaContext> context_;
  const std::span<std::byte> bytes_;
};

class CudaStager final : public Stager {
 public:
  CudaStager(std::shared_ptr<CudaContext> context, Traits traits, const Clock& clock)
      : context_(std::move(context)), traits_(std::move(traits)), clock_(clock) {}
  ~CudaStager() override { KVPOOL_CHECK(pinned_.empty()); }

  const Traits& traits() const override { return traits_; }
  Result<std::unique_ptr<Queue>> OpenQueue() override { return CudaQueue::Open(context_, clock_); }
  std::string failure() const override { return context_->failure(); }

  Range RangeAround(const std::byte* address) const override {
    const CudaMemory memory = context_->MemoryAround(address);
    return memory.ordinal == context_->ordinal ? memory.allocation : Range{};
  }

  Result<std::unique_ptr<ImportedMemory>> Import(Handle handle, std::uint64_t bytes) override {
    if (handle.descriptor) {
      return Fail(Status::kInvalid, "a handle of CUDA's has no descriptor: send its bytes alone");
    }
    return CudaImport::Open(context_, handle, bytes);
  }

  // Portable, so that streams of every context find it pinned.
  bool Pin(std::span<std::byte> bytes) override {
    const CudaContext::Current current(*context_);
    const cuda::Code code =
        context_->call.host_register(bytes.data(), bytes.size(), cuda::kHostRegisterPortable);
    if (code == cuda::kAlreadyRegistered) return true;
    if (code != cuda::kSuccess) return false;
    MutexLock lock(mutex_);
    pinned_.insert(bytes.data());
    return true;
  }

  void Unpin(std::span<std::byte> bytes) override {
    {
      MutexLock lock(mutex_);
      if (pinned_.erase(bytes.data()) == 0) return;
    }
    const CudaContext::Current current(*context_);
    context_->Check("cuMemHostUnregister", context_->call.host_unregister(bytes.data()));
  }

 private:
  const std::shared_ptr<CudaContext> context_;
  const Traits traits_;
  const Clock& clock_;
  Mutex mutex_;
  std::set<const std::byte*> pinned_ KVPOOL_GUARDED_BY(mutex_);  // by this stager
};

Traits TraitsOf(const cuda::Functions& call, cuda::Device device,
                const CudaStagerOptions& options) {
  std::array<char, 128> name{};
  std::array<char, 32> bus_id{};
  if (call.device_name(name.data(), name.size() - 1, device) != cuda::kSuccess) name[0] = 0;
  if (call.device_pci_bus_id(bus_id.data(), bus_id.size() - 1, device) != cuda::kSuccess) {
    bus_id[0] = 0;
  }
  Traits traits;
  traits.name = options.name;
  traits.kind = "cuda";
  traits.identity = CudaIdentityOf(call, device);
  traits.bytes_per_s = options.bytes_per_s;
  traits.numa_node = options.numa_node >= 0 ? options.numa_node
                     : bus_id[0] != 0       ? NodeOf(options.pci_devices, bus_id.data())
                                            : -1;
  traits.description = fmt::format(
      "{}, PCI {}, {}", name.data(), bus_id.data(),
      traits.numa_node < 0 ? "node not known" : fmt::format("node {}", traits.numa_node));
  if (call.copy_batch == nullptr) traits.description += ", copies one by one (driver before 12.8)";
  return traits;
}

}  // namespace

Result<std::unique_ptr<Stager>> OpenCudaStager(const CudaStagerOptions& options,
                                               const Clock& clock) {
  auto call = cuda::LoadDriver(options.library);
  if (!call) return tl::unexpected(call.error());
  auto context = CudaContext::Open(*call, options.ordinal);
  if (!context) return tl::unexpected(context.error());
  Traits traits = TraitsOf(*call, (*context)->device, options);
  return std::make_unique<CudaStager>(std::move(*context), std::move(traits), clock);
}

}  // namespace kvpool::gpu
