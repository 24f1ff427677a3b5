#include "gpu/cuda_driver.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace kvpool::gpu::cuda {
namespace {

// The names that are missing, for Load.
class Symbols {
 public:
  explicit Symbols(void* library) : library_(library) {}

  template <class Function>
  void Find(const char* name, Function& function) {
    FindOptional(name, function);
    if (function == nullptr && missing_.empty()) missing_ = name;
  }
  template <class Function>
  void FindOptional(const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library_, name));
  }
  const std::string& missing() const { return missing_; }

 private:
  void* library_;
  std::string missing_;
};

Result<Functions> Load(void* library, const std::string& path) {
  Functions call{};
  Symbols symbols(library);
  symbols.Find("cuInit", call.init);
  symbols.Find("cuGetErrorString", call.error_string);
  symbols.Find("cuDeviceGetCount", call.device_count);
  symbols.Find("cuDeviceGet", call.device);
  symbols.Find("cuDeviceGetName", call.device_name);
  symbols.Find("cuDeviceGetUuid_v2", call.device_uuid);
  symbols.Find("cuDeviceGetPCIBusId", call.device_pci_bus_id);
  symbols.Find("cuDevicePrimaryCtxRetain", call.primary_retain);
  symbols.Find("cuDevicePrimaryCtxRelease_v2", call.primary_release);
  symbols.Find("cuDevicePrimaryCtxGetState", call.primary_state);
  symbols.Find("cuCtxPushCurrent_v2", call.push);
  symbols.Find("cuCtxPopCurrent_v2", call.pop);
  symbols.Find("cuCtxGetStreamPriorityRange", call.priority_range);
  symbols.Find("cuStreamCreateWithPriority", call.stream_create);
  symbols.Find("cuStreamDestroy_v2", call.stream_destroy);
  symbols.Find("cuStreamSynchronize", call.stream_synchronize);
  symbols.Find("cuEventCreate", call.event_create);
  symbols.Find("cuEventDestroy_v2", call.event_destroy);
  symbols.Find("cuEventRecord", call.event_record);
  symbols.Find("cuEventQuery", call.event_query);
  symbols.Find("cuMemHostRegister_v2", call.host_register);
  symbols.Find("cuMemHostUnregister", call.host_unregister);
  symbols.Find("cuMemcpyHtoDAsync_v2", call.to_gpu);
  symbols.Find("cuMemcpyDtoHAsync_v2", call.to_host);
  symbols.Find("cuPointerGetAttributes", call.pointer_attributes);
  symbols.Find("cuIpcGetMemHandle", call.ipc_get);
  symbols.Find("cuIpcOpenMemHandle_v2", call.ipc_open);
  symbols.Find("cuIpcCloseMemHandle", call.ipc_close);
  symbols.FindOptional("cuMemcpyBatchAsync", call.copy_batch);
  if (symbols.missing().empty()) return call;
  return Fail(
      Status::kUnsupported,
      fmt::format("{} has no {}: install NVIDIA's driver 520 or later", path, symbols.missing()));
}

}  // namespace

std::string Words(const Functions& call, const char* name, Code code) {
  const char* text = nullptr;
  if (call.error_string(code, &text) != kSuccess || text == nullptr) text = "unknown error";
  return fmt::format("{} failed: {} ({})", name, text, code);
}

tl::unexpected<Error> Refused(const Functions& call, const char* name, Code code) {
  return Fail(Status::kIoError,
              fmt::format("{}: see nvidia-smi and the kernel's log", Words(call, name, code)));
}

bool IsLoaded(const std::string& library) {
  void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
  if (handle != nullptr) dlclose(handle);
  return handle != nullptr;
}

Result<Functions> LoadDriver(const std::string& library) {
  void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return Fail(Status::kUnsupported,
                fmt::format("there is no CUDA driver here ({}): install NVIDIA's, or leave [[gpu]] "
                            "out of the pool file",
                            dlerror()));
  }
  auto call = Load(handle, library);
  if (!call) return call;
  const Code code = call->init(0);
  if (code == kNoDevice) {
    return Fail(Status::kUnsupported,
                "the CUDA driver finds no GPU: see nvidia-smi and CUDA_VISIBLE_DEVICES, or leave "
                "[[gpu]] out of the pool file");
  }
  if (code != kSuccess) {
    return Fail(Status::kUnsupported, fmt::format("{}: see nvidia-smi and the kernel's log",
                                                  Words(*call, "cuInit", code)));
  }
  return call;
}

}  // namespace kvpool::gpu::cuda
