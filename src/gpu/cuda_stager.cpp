#include "gpu/cuda_stager.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <set>

#include "base/check.h"
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

class CudaStager final : public Stager {
 public:
  CudaStager(std::shared_ptr<CudaContext> context, Traits traits, int ordinal, const Clock& clock)
      : context_(std::move(context)),
        traits_(std::move(traits)),
        ordinal_(ordinal),
        clock_(clock) {}
  ~CudaStager() override { KVPOOL_CHECK(pinned_.empty()); }

  const Traits& traits() const override { return traits_; }
  Result<std::unique_ptr<Queue>> OpenQueue() override { return CudaQueue::Open(context_, clock_); }
  std::string failure() const override { return context_->failure(); }

  Range RangeAround(const std::byte* address) const override {
    unsigned type = 0;
    int ordinal = -1;
    cuda::Address start = 0;
    std::size_t bytes = 0;
    std::array<int, 4> attributes{cuda::kAttributeMemoryType, cuda::kAttributeOrdinal,
                                  cuda::kAttributeRangeStart, cuda::kAttributeRangeBytes};
    std::array<void*, 4> values{&type, &ordinal, &start, &bytes};
    const CudaContext::Current current(*context_);
    const cuda::Code code =
        context_->call.pointer_attributes(attributes.size(), attributes.data(), values.data(),
                                          reinterpret_cast<cuda::Address>(address));
    if (code != cuda::kSuccess || type != cuda::kMemoryOfDevice || ordinal != ordinal_) return {};
    return {static_cast<std::uintptr_t>(start), static_cast<std::uintptr_t>(start) + bytes};
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
  const int ordinal_;
  const Clock& clock_;
  Mutex mutex_;
  std::set<const std::byte*> pinned_ KVPOOL_GUARDED_BY(mutex_);  // by this stager
};

tl::unexpected<Error> Refused(const cuda::Functions& call, const char* name, cuda::Code code) {
  return Fail(Status::kIoError, fmt::format("{}: see nvidia-smi and the kernel's log",
                                            cuda::Words(call, name, code)));
}

Result<cuda::Device> FindDevice(const cuda::Functions& call, std::uint32_t ordinal) {
  int count = 0;
  if (const auto code = call.device_count(&count); code != cuda::kSuccess) {
    return Refused(call, "cuDeviceGetCount", code);
  }
  if (ordinal >= static_cast<std::uint32_t>(count)) {
    return Fail(
        Status::kNotFound,
        fmt::format("there is no GPU {}: CUDA sees {} here, counted from 0", ordinal, count));
  }
  cuda::Device device = 0;
  if (const auto code = call.device(&device, static_cast<int>(ordinal)); code != cuda::kSuccess) {
    return Refused(call, "cuDeviceGet", code);
  }
  return device;
}

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
  auto device = FindDevice(*call, options.ordinal);
  if (!device) return tl::unexpected(device.error());
  cuda::Context context = nullptr;
  if (const auto code = call->primary_retain(&context, *device); code != cuda::kSuccess) {
    return Refused(*call, "cuDevicePrimaryCtxRetain", code);
  }
  auto owner = std::make_shared<CudaContext>(*call, *device, context);
  return std::make_unique<CudaStager>(std::move(owner), TraitsOf(*call, *device, options),
                                      static_cast<int>(options.ordinal), clock);
}

}  // namespace kvpool::gpu
