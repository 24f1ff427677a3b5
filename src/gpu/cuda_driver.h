// CUDA's driver API, looked up in libcuda at run time, so that neither a toolkit nor a driver is
// needed to build. Only what the stager uses is declared here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "kvpool/result.h"

namespace kvpool::gpu::cuda {

using Code = int;  // CUresult
inline constexpr Code kSuccess = 0;
inline constexpr Code kNoDevice = 100;
inline constexpr Code kNotReady = 600;
inline constexpr Code kAlreadyRegistered = 712;

using Device = int;
using Address = unsigned long long;  // CUdeviceptr
using Context = struct CUctx_st*;
using Stream = struct CUstream_st*;
using Event = struct CUevent_st*;

inline constexpr unsigned kStreamNonBlocking = 1;
inline constexpr unsigned kEventDisableTiming = 2;
inline constexpr unsigned kHostRegisterPortable = 1;

// CUpointer_attribute, and the CUmemorytype of a GPU's own memory.
inline constexpr int kAttributeMemoryType = 2;
inline constexpr int kAttributeBufferId = 7;
inline constexpr int kAttributeOrdinal = 9;
inline constexpr int kAttributeLegacyIpc = 10;
inline constexpr int kAttributeRangeStart = 11;
inline constexpr int kAttributeRangeBytes = 12;
inline constexpr unsigned kMemoryOfDevice = 2;

// CUmemLocation and CUmemcpyAttributes, of CUDA 12.8.
struct Location {
  int type = 0;
  int id = 0;
};
inline constexpr int kSourceInStreamOrder = 1;
struct CopyAttributes {
  int source_access_order = kSourceInStreamOrder;
  Location source;
  Location destination;
  unsigned flags = 0;
};
static_assert(sizeof(CopyAttributes) == 24);

// CUipcMemHandle and CUuuid.
struct IpcHandle {
  unsigned char bytes[64];
};
inline constexpr unsigned kIpcLazyPeerAccess = 1;
struct Uuid {
  std::array<unsigned char, 16> bytes{};
};

struct Functions {
  Code (*init)(unsigned flags);
  Code (*error_string)(Code code, const char** text);
  Code (*device_count)(int* count);
  Code (*device)(Device* device, int ordinal);
  Code (*device_name)(char* name, int bytes, Device device);
  Code (*device_uuid)(Uuid* uuid, Device device);
  Code (*device_pci_bus_id)(char* id, int bytes, Device device);
  Code (*primary_retain)(Context* context, Device device);
  Code (*primary_release)(Device device);
  Code (*primary_state)(Device device, unsigned* flags, int* active);
  Code (*push)(Context context);
  Code (*pop)(Context* context);
  Code (*priority_range)(int* least, int* greatest);
  Code (*stream_create)(Stream* stream, unsigned flags, int priority);
  Code (*stream_destroy)(Stream stream);
  Code (*stream_synchronize)(Stream stream);
  Code (*event_create)(Event* event, unsigned flags);
  Code (*event_destroy)(Event event);
  Code (*event_record)(Event event, Stream stream);
  Code (*event_query)(Event event);
  Code (*host_register)(void* data, std::size_t bytes, unsigned flags);
  Code (*host_unregister)(void* data);
  Code (*to_gpu)(Address to, const void* from, std::size_t bytes, Stream stream);
  Code (*to_host)(void* to, Address from, std::size_t bytes, Stream stream);
  Code (*pointer_attributes)(unsigned count, int* attributes, void** values, Address address);
  Code (*ipc_get)(IpcHandle* handle, Address address);
  Code (*ipc_open)(Address* address, IpcHandle handle, unsigned flags);
  Code (*ipc_close)(Address address);
  // Of CUDA 12.8 and later; null where the driver has none.
  Code (*copy_batch)(Address* to, Address* from, std::size_t* bytes, std::size_t count,
                     CopyAttributes* attributes, std::size_t* first_of_attributes,
                     std::size_t attribute_count, std::size_t* failed, Stream stream);
};

// Loads `library` and initialises it; it stays loaded until the process ends. kUnsupported: there
// is no driver, it is too old, or it has no GPU, in one sentence.
Result<Functions> LoadDriver(const std::string& library);
// Whether somebody in this process has loaded it already.
bool IsLoaded(const std::string& library);

// kIoError: a call of the driver's failed, in one sentence.
tl::unexpected<Error> Refused(const Functions& call, const char* name, Code code);

// "cuMemHostRegister failed: out of memory (2)", in the driver's words.
std::string Words(const Functions& call, const char* name, Code code);

}  // namespace kvpool::gpu::cuda
