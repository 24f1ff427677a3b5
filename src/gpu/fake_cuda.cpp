// A toy libcuda: streams are queues of copies that are made when somebody looks at an event behind
// them, and every rule that the driver has and a test might miss is checked.
#include "gpu/fake_cuda.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "gpu/cuda_driver.h"

using namespace kvpool::gpu::cuda;

namespace {

constexpr Code kInvalidValue = 1;
constexpr Code kOutOfMemory = 2;
constexpr Code kInvalidContext = 201;
constexpr Code kInvalidHandle = 400;
constexpr Code kLost = 999;
constexpr int kDevices = 4;
const Stream kDefaultStream = reinterpret_cast<Stream>(1);  // CU_STREAM_LEGACY

struct Allocation {
  std::size_t bytes;
  std::byte* behind;
  int memfd;
  std::uint64_t id;
  int opened = 0;  // of another process, so often
};

// What a handle says: whose allocation it is.
struct Export {
  std::uint64_t magic;
  std::int32_t pid;
  std::int32_t memfd;
  std::uint64_t bytes;
  std::uint64_t id;
  unsigned char zero[32];
};
static_assert(sizeof(Export) == sizeof(IpcHandle));
constexpr std::uint64_t kExportMagic = 0x636d7966616b65;

struct Move {
  std::uintptr_t to;
  std::uintptr_t from;
  std::size_t bytes;
  Event event;  // what it is when `bytes` is 0
};

}  // namespace

namespace kvpool::gpu::cuda {

struct CUctx_st {
  int device;
};
struct CUstream_st {
  Context context;
  std::deque<Move> moves;
};
struct CUevent_st {
  Context context;
  Stream stream = nullptr;  // that it was recorded in and is not past yet
  int looks = 0;
};

}  // namespace kvpool::gpu::cuda

namespace {

struct State {
  FakeCuda told{.devices = 1};
  CUctx_st contexts[kDevices] = {{0}, {1}, {2}, {3}};
  std::map<std::uintptr_t, Allocation> allocations;
  std::map<std::uintptr_t, std::size_t> registered;
  std::map<std::pair<int, std::uint64_t>, std::uintptr_t> imports;  // by process and id
  std::set<Stream> streams;
};

std::mutex mutex;
State state;
thread_local std::vector<Context> current;
bool initialised = false;

void Broken(const char* rule) {
  if (state.told.broken == nullptr) state.told.broken = rule;
}

// The allocation around [address, + bytes); end when there is none.
template <class Map, class Bytes>
auto Around(Map& map, std::uintptr_t address, std::size_t bytes, Bytes bytes_of) {
  auto at = map.upper_bound(address);
  if (at == map.begin()) return map.end();
  --at;
  return address + bytes <= at->first + bytes_of(at->second) ? at : map.end();
}
auto AllocationAround(std::uintptr_t address, std::size_t bytes) {
  return Around(state.allocations, address, bytes, [](const Allocation& one) { return one.bytes; });
}
bool IsRegistered(std::uintptr_t address, std::size_t bytes) {
  const auto whole = [](std::size_t size) { return size; };
  return Around(state.registered, address, bytes, whole) != state.registered.end();
}

Code InContext(Context of) {
  if (!initialised) Broken("cuInit comes first");
  if (!current.empty() && (of == nullptr || current.back() == of)) return kSuccess;
  Broken("the context is not current");
  return kInvalidContext;
}

bool Refuses() { return state.told.fail_copy > 0 && --state.told.fail_copy == 0; }

Code Add(Stream stream, std::uintptr_t gpu, std::uintptr_t host, std::size_t bytes, bool to_gpu) {
  if (state.streams.count(stream) == 0) Broken("the stream is gone");
  if (bytes == 0) Broken("a copy has no bytes");
  if (AllocationAround(gpu, bytes) == state.allocations.end()) return kInvalidValue;
  if (!IsRegistered(host, bytes)) ++state.told.unpinned;
  ++state.told.copies;
  stream->moves.push_back(to_gpu ? Move{gpu, host, bytes, nullptr}
                                 : Move{host, gpu, bytes, nullptr});
  return kSuccess;
}

std::byte* Reach(std::uintptr_t address, std::size_t bytes) {
  const auto at = AllocationAround(address, bytes);
  if (at == state.allocations.end()) return reinterpret_cast<std::byte*>(address);
  return at->second.behind + (address - at->first);
}

void RunUpTo(Stream stream, Event event) {
  while (!stream->moves.empty()) {
    const Move move = stream->moves.front();
    stream->moves.pop_front();
    if (move.bytes == 0) {
      move.event->stream = nullptr;
      if (move.event == event) return;
    } else {
      std::memcpy(Reach(move.to, move.bytes), Reach(move.from, move.bytes), move.bytes);
    }
  }
}

void* MapAllocation(void* at, std::size_t bytes, int memfd, std::uint64_t id) {
  const int place = at == nullptr ? 0 : MAP_FIXED_NOREPLACE;
  void* const seen = mmap(at, bytes, PROT_NONE, MAP_SHARED | place, memfd, 0);
  void* const behind = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
  if (seen == MAP_FAILED || behind == MAP_FAILED) return nullptr;
  state.allocations[reinterpret_cast<std::uintptr_t>(seen)] = {
      bytes, static_cast<std::byte*>(behind), memfd, id};
  return seen;
}

using Place = std::map<std::uintptr_t, Allocation>::iterator;

// No copy may be under way there.
void Unmap(Place at) {
  for (const Stream stream : state.streams) {
    for (const Move& move : stream->moves) {
      const auto within = [&](std::uintptr_t address) {
        return move.bytes != 0 && address >= at->first && address < at->first + at->second.bytes;
      };
      if (within(move.to) || within(move.from)) Broken("memory goes while copies need it");
    }
  }
  munmap(at->second.behind, at->second.bytes);
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  munmap(reinterpret_cast<void*>(at->first), at->second.bytes);
  close(at->second.memfd);
  state.allocations.erase(at);
}

}  // namespace

#define LOCKED const std::lock_guard<std::mutex> lock(mutex)

extern "C" {

FakeCuda* fake_cuda() { return &state.told; }

void fake_cuda_reset() {
  LOCKED;
  const bool left =
      state.told.retained + state.told.streams + state.told.events + state.told.imported != 0 ||
      !state.registered.empty();
  if (left) std::fprintf(stderr, "fake_cuda: something is left of a stager\n");
  state.told = FakeCuda{.devices = 1};
  if (left) Broken("something is left of a stager");
}

void* fake_cuda_allocate(std::size_t bytes) {
  LOCKED;
  const int fd = memfd_create("fake-gpu", MFD_CLOEXEC);
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) return nullptr;
  static std::uint64_t ids = 0;
  return MapAllocation(nullptr, bytes, fd, ++ids);
}

// In another's place, as a driver may put it.
void* fake_cuda_allocate_again(void* freed, std::size_t bytes) {
  LOCKED;
  const int fd = memfd_create("fake-gpu", MFD_CLOEXEC);
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) return nullptr;
  static std::uint64_t ids = 1'000'000;
  return MapAllocation(freed, bytes, fd, ++ids);
}

std::byte* fake_cuda_behind(void* allocated) {
  LOCKED;
  return state.allocations.at(reinterpret_cast<std::uintptr_t>(allocated)).behind;
}

void fake_cuda_free(void* allocated) {
  LOCKED;
  Unmap(state.allocations.find(reinterpret_cast<std::uintptr_t>(allocated)));
}

Code cuInit(unsigned) {
  LOCKED;
  initialised = true;
  return state.told.devices == 0 ? kNoDevice : kSuccess;
}
Code cuGetErrorString(Code code, const char** text) {
  *text = code == kOutOfMemory ? "out of memory" : code == kLost ? "unknown error" : "invalid";
  return kSuccess;
}
Code cuDeviceGetCount(int* count) {
  *count = state.told.devices;
  return kSuccess;
}
Code cuDeviceGet(Device* device, int ordinal) {
  *device = ordinal;
  return kSuccess;
}
Code cuDeviceGetName(char* name, int bytes, Device device) {
  std::snprintf(name, static_cast<std::size_t>(bytes), "Toy GPU %d", device);
  return kSuccess;
}
Code cuDeviceGetPCIBusId(char* id, int bytes, Device device) {
  std::snprintf(id, static_cast<std::size_t>(bytes), "0000:A%d:00.0", device);
  return kSuccess;
}
Code cuDeviceGetUuid_v2(Uuid* uuid, Device device) {
  uuid->bytes.fill(0xa0);
  uuid->bytes[15] = static_cast<unsigned char>(device);
  return kSuccess;
}
// Who has memory there has made the context.
Code cuDevicePrimaryCtxGetState(Device device, unsigned* flags, int* active) {
  LOCKED;
  *flags = 0;
  *active = device == 0 && (state.told.retained != 0 || !state.allocations.empty()) ? 1 : 0;
  return kSuccess;
}
Code cuDevicePrimaryCtxRetain(Context* context, Device device) {
  LOCKED;
  ++state.told.retained;
  *context = &state.contexts[device];
  return kSuccess;
}
Code cuDevicePrimaryCtxRelease_v2(Device) {
  LOCKED;
  if (--state.told.retained < 0) Broken("a context was released that nobody retained");
  return kSuccess;
}
Code cuCtxPushCurrent_v2(Context context) {
  current.push_back(context);
  return kSuccess;
}
Code cuCtxPopCurrent_v2(Context* context) {
  if (current.empty()) return kInvalidContext;
  *context = current.back();
  current.pop_back();
  return kSuccess;
}
Code cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return InContext(nullptr);
}
Code cuStreamCreateWithPriority(Stream* stream, unsigned flags, int priority) {
  LOCKED;
  if (flags != kStreamNonBlocking) Broken("the stream waits for the default one");
  if (priority != -5) Broken("the stream does not go first");
  if (const Code code = InContext(nullptr); code != kSuccess) return code;
  if (state.told.fail_streams != 0) return kOutOfMemory;
  ++state.told.streams;
  *stream = new CUstream_st{current.back(), {}};
  state.streams.insert(*stream);
  return kSuccess;
}
Code cuStreamDestroy_v2(Stream stream) {
  LOCKED;
  if (!stream->moves.empty()) Broken("a stream is destroyed with copies in it");
  --state.told.streams;
  state.streams.erase(stream);
  delete stream;
  return kSuccess;
}
Code cuStreamSynchronize(Stream stream) {
  LOCKED;
  if (stream == kDefaultStream) {
    ++state.told.synchronized;
    return state.told.lost != 0 ? kLost : InContext(nullptr);
  }
  if (state.told.lost == 0) RunUpTo(stream, nullptr);
  for (const Move& move : stream->moves) {
    if (move.bytes == 0) move.event->stream = nullptr;
  }
  stream->moves.clear();
  return state.told.lost != 0 ? kLost : kSuccess;
}
Code cuEventCreate(Event* event, unsigned flags) {
  LOCKED;
  if (flags != kEventDisableTiming) Broken("the event takes times, which costs");
  ++state.told.events;
  *event = new CUevent_st{current.empty() ? nullptr : current.back()};
  return InContext(nullptr);
}
Code cuEventDestroy_v2(Event event) {
  LOCKED;
  if (event->stream != nullptr) Broken("an event is destroyed before it has come");
  --state.told.events;
  delete event;
  return kSuccess;
}
Code cuEventRecord(Event event, Stream stream) {
  LOCKED;
  if (event->stream != nullptr) Broken("an event is recorded again before it has come");
  if (event->context != stream->context) Broken("event and stream are of two contexts");
  event->stream = stream;
  event->looks = 0;
  stream->moves.push_back({0, 0, 0, event});
  return InContext(stream->context);
}
Code cuEventQuery(Event event) {
  LOCKED;
  if (const Code code = InContext(event->context); code != kSuccess) return code;
  if (state.told.lost != 0) return kLost;
  if (event->stream == nullptr) return kSuccess;
  if (event->looks++ < state.told.lag) return kNotReady;
  RunUpTo(event->stream, event);
  return kSuccess;
}
Code cuMemHostRegister_v2(void* data, std::size_t bytes, unsigned flags) {
  LOCKED;
  if (flags != kHostRegisterPortable) Broken("memory is pinned for one context only");
  if (const Code code = InContext(nullptr); code != kSuccess) return code;
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  if (IsRegistered(address, 1)) return kAlreadyRegistered;
  state.registered[address] = bytes;
  ++state.told.registered;
  state.told.registered_bytes += bytes;
  return kSuccess;
}
Code cuMemHostUnregister(void* data) {
  LOCKED;
  const auto at = state.registered.find(reinterpret_cast<std::uintptr_t>(data));
  if (at == state.registered.end()) {
    Broken("memory is unpinned that was not pinned");
    return kInvalidValue;
  }
  --state.told.registered;
  state.told.registered_bytes -= at->second;
  state.registered.erase(at);
  return InContext(nullptr);
}
Code cuMemcpyHtoDAsync_v2(Address to, const void* from, std::size_t bytes, Stream stream) {
  LOCKED;
  if (Refuses()) return kOutOfMemory;
  if (const Code code = InContext(stream->context); code != kSuccess) return code;
  return Add(stream, to, reinterpret_cast<std::uintptr_t>(from), bytes, true);
}
Code cuMemcpyDtoHAsync_v2(void* to, Address from, std::size_t bytes, Stream stream) {
  LOCKED;
  if (Refuses()) return kOutOfMemory;
  if (const Code code = InContext(stream->context); code != kSuccess) return code;
  return Add(stream, from, reinterpret_cast<std::uintptr_t>(to), bytes, false);
}
Code cuPointerGetAttributes(unsigned count, int* attributes, void** values, Address address) {
  LOCKED;
  const auto at = AllocationAround(address, 1);
  const bool here = at != state.allocations.end();
  for (unsigned i = 0; i < count; ++i) {
    switch (attributes[i]) {
      case kAttributeMemoryType:
        *static_cast<unsigned*>(values[i]) = here ? kMemoryOfDevice : 0;
        break;
      case kAttributeOrdinal:
        *static_cast<int*>(values[i]) = here ? 0 : -2;
        break;
      case kAttributeRangeStart:
        *static_cast<Address*>(values[i]) = here ? at->first : 0;
        break;
      case kAttributeRangeBytes:
        *static_cast<std::size_t*>(values[i]) = here ? at->second.bytes : 0;
        break;
      case kAttributeBufferId:
        *static_cast<unsigned long long*>(values[i]) = here ? at->second.id : 0;
        break;
      case kAttributeLegacyIpc:
        *static_cast<bool*>(values[i]) = here && state.told.private_memory == 0;
        break;
      default:
        Broken("an attribute that does not exist");
    }
  }
  return kSuccess;
}
Code cuIpcGetMemHandle(IpcHandle* handle, Address address) {
  LOCKED;
  if (const Code code = InContext(nullptr); code != kSuccess) return code;
  const auto at = state.allocations.find(static_cast<std::uintptr_t>(address));
  if (at == state.allocations.end()) Broken("a handle is of an allocation's first byte");
  if (at == state.allocations.end() || state.told.private_memory != 0) return kInvalidValue;
  if (at->second.opened != 0) return kInvalidValue;
  const Export said{kExportMagic, getpid(), at->second.memfd, at->second.bytes, at->second.id, {}};
  std::memcpy(handle, &said, sizeof said);
  return kSuccess;
}
// A process that opens its own is not refused, so that a test may be both.
Code cuIpcOpenMemHandle_v2(Address* address, IpcHandle handle, unsigned flags) {
  LOCKED;
  if (flags != kIpcLazyPeerAccess) Broken("the flag is the only one there is");
  if (const Code code = InContext(nullptr); code != kSuccess) return code;
  Export said;
  std::memcpy(&said, &handle, sizeof said);
  if (said.magic != kExportMagic) return kInvalidHandle;
  std::uintptr_t& known = state.imports[{said.pid, said.id}];
  if (known == 0) {
    const std::string path =
        "/proc/" + std::to_string(said.pid) + "/fd/" + std::to_string(said.memfd);
    const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
    void* const seen =
        fd < 0 ? nullptr : MapAllocation(nullptr, said.bytes, fd, 1 + (said.id << 32));
    if (seen == nullptr) return kInvalidHandle;
    known = reinterpret_cast<std::uintptr_t>(seen);
  }
  ++state.allocations.at(known).opened;
  ++state.told.imported;
  *address = known;
  return kSuccess;
}
Code cuIpcCloseMemHandle(Address address) {
  LOCKED;
  if (const Code code = InContext(nullptr); code != kSuccess) return code;
  const auto at = state.allocations.find(static_cast<std::uintptr_t>(address));
  if (at == state.allocations.end() || at->second.opened == 0) {
    Broken("memory is closed that was not opened");
    return kInvalidValue;
  }
  --state.told.imported;
  if (--at->second.opened != 0) return kSuccess;
  std::erase_if(state.imports, [&](const auto& one) { return one.second == at->first; });
  Unmap(at);
  return kSuccess;
}
#ifndef KVPOOL_FAKE_CUDA_OLD
Code cuMemcpyBatchAsync(Address* to, Address* from, std::size_t* bytes, std::size_t count,
                        CopyAttributes* attributes, std::size_t* first, std::size_t numbers,
                        std::size_t* failed, Stream stream) {
  LOCKED;
  if (Refuses()) return kOutOfMemory;
  if (const Code code = InContext(stream->context); code != kSuccess) return code;
  if (numbers != 1 || *first != 0 || failed == nullptr ||
      attributes->source_access_order != kSourceInStreamOrder) {
    Broken("the batch's attributes are wrong");
  }
  ++state.told.batches;
  for (std::size_t i = 0; i < count; ++i) {
    const bool to_gpu = AllocationAround(to[i], bytes[i]) != state.allocations.end();
    const Code code = to_gpu ? Add(stream, to[i], from[i], bytes[i], true)
                             : Add(stream, from[i], to[i], bytes[i], false);
    if (code != kSuccess) return code;
  }
  return kSuccess;
}
#endif
}
