// What travels between the daemon and its clients: docs/formats/ipc.md, byte for byte.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/limits.h"

namespace kvpool::ipc {

static_assert(std::endian::native == std::endian::little);

inline constexpr std::uint64_t kHelloMagic = 0x50494c4f4f50564b;  // "KVPOOLIP"
inline constexpr std::uint32_t kMessageMagic = 0x4d50564b;        // "KVPM"
inline constexpr std::uint32_t kProtocolVersion = 4;

inline constexpr std::uint32_t kMaxMessageBytes = 1 << 20;
inline constexpr std::uint32_t kMaxSpaceTextBytes = 4096;
inline constexpr std::uint32_t kMaxDepth = kMaxRequestsPerChannel;
inline constexpr std::size_t kMaxClients = 64;
inline constexpr std::size_t kMaxOperators = 8;  // beyond these, to ask only
inline constexpr std::size_t kMaxClientChannels = 64;
inline constexpr std::size_t kMaxClientSpaces = 1024;
inline constexpr std::size_t kMaxClientRegions = 256;
inline constexpr std::uint64_t kMaxClientRegionBytes = std::uint64_t{1} << 40;
inline constexpr std::size_t kMaxSegments = 4'194'304;  // of a request
inline constexpr std::size_t kMaxViews = kMaxSegments;  // of a request
inline constexpr std::size_t kMaxChannelLeases = 4096;
inline constexpr std::size_t kMaxChannelLeaseKeys = 1'048'576;  // of all of a channel's leases
inline constexpr std::uint64_t kClientLeaseDivisor = 4;         // of the pool's memory
inline constexpr std::uint64_t kAllLeasesDivisor = 2;
inline constexpr std::uint64_t kMaxArgumentBytes = 256 * kMiB;  // in flight, of a channel

// Text in a fixed room, zero-padded, cut where it is too long.
template <std::size_t kBytes>
struct Text {
  std::array<char, kBytes> bytes{};

  void Set(std::string_view text) {
    bytes.fill('\0');
    text.copy(bytes.data(), kBytes - 1);
  }
  std::string_view Get() const {
    const std::string_view all(bytes.data(), kBytes);
    return all.substr(0, all.find('\0'));
  }
};

struct Hello {
  std::uint64_t magic = kHelloMagic;
  std::uint32_t version = kProtocolVersion;
  std::uint32_t bytes = 80;
  Text<64> program;
};
static_assert(sizeof(Hello) == 80);

struct HelloAnswer {
  std::uint64_t magic = kHelloMagic;
  std::uint32_t version = kProtocolVersion;
  std::uint32_t bytes = 344;
  std::uint32_t status = 0;
  std::uint32_t zero = 0;
  Text<64> pool;
  Text<256> sentence;
};
static_assert(sizeof(HelloAnswer) == 344);

enum class MessageType : std::uint16_t {
  kOpenSpace = 1,
  kOpenChannel = 2,
  kCloseChannel = 3,
  kAddRegion = 4,
  kRemoveRegion = 5,
  kInfo = 6,
  kPresence = 7,
  kStatus = 8,
  kLentMemory = 9,
  kAddGpuRegion = 10,
};

struct MessageHeader {
  std::uint32_t magic = kMessageMagic;
  MessageType type = MessageType::kInfo;
  std::uint16_t descriptors = 0;
  std::uint32_t bytes = 0;  // that follow
  std::uint32_t number = 0;
};
static_assert(sizeof(MessageHeader) == 16);

struct AnswerHead {
  std::uint32_t status = 0;
  std::int32_t system_errno = 0;
  std::uint32_t sentence_bytes = 0;
  std::uint32_t zero = 0;
};
static_assert(sizeof(AnswerHead) == 16);

inline constexpr std::size_t kSpaceTexts = 8;
struct SpaceQuestion {
  std::uint32_t layers = 0;
  std::array<std::uint16_t, kSpaceTexts> lengths{};
  std::uint32_t zero = 0;
};
static_assert(sizeof(SpaceQuestion) == 24);

struct SpaceAnswer {
  std::uint32_t space = 0;
  std::uint32_t layers = 0;
};
static_assert(sizeof(SpaceAnswer) == 8);

struct ChannelQuestion {
  std::uint32_t depth = 0;
  std::uint32_t zero = 0;
};
static_assert(sizeof(ChannelQuestion) == 8);

struct ChannelAnswer {
  std::uint32_t channel = 0;
  std::uint32_t depth = 0;
};
static_assert(sizeof(ChannelAnswer) == 8);

// Closes a channel, removes a region, asks for a space's presence or lent memory.
struct Named {
  std::uint32_t id = 0;
  std::uint32_t zero = 0;
};
static_assert(sizeof(Named) == 8);

enum class RegionPurpose : std::uint32_t { kArguments = 0, kData = 1 };

struct RegionQuestion {
  std::uint64_t bytes = 0;
  RegionPurpose purpose = RegionPurpose::kData;
  std::uint32_t zero = 0;
};
static_assert(sizeof(RegionQuestion) == 16);

struct GpuRegionQuestion {
  std::uint64_t bytes = 0;
  Text<72> gpu;  // its identity
  std::array<std::byte, 64> handle{};
};
static_assert(sizeof(GpuRegionQuestion) == 144);

struct RegionAnswer {
  std::uint32_t region = 0;
  std::uint32_t zero = 0;
};
static_assert(sizeof(RegionAnswer) == 8);

struct LentRecord {
  std::uint32_t number = 0;
  std::uint32_t zero = 0;
  std::uint64_t bytes = 0;
};
static_assert(sizeof(LentRecord) == 16);

enum class RequestKind : std::uint8_t { kGet = 0, kPut = 1, kDrop = 2, kFlush = 3, kRelease = 4 };
inline constexpr std::uint8_t kHasOrdinal = 1;
inline constexpr std::uint8_t kDurable = 2;
inline constexpr std::uint8_t kHasDeadline = 4;
inline constexpr std::uint8_t kInBackground = 8;
inline constexpr std::uint8_t kLease = 16;

struct Submission {
  std::uint64_t id = 0;  // slot, and above it how often that was used before
  RequestKind kind = RequestKind::kGet;
  std::uint8_t flags = 0;
  std::uint16_t zero = 0;
  std::uint32_t space = 0;
  std::uint32_t keys = 0;
  std::uint32_t segments = 0;
  std::uint32_t region = 0;     // of the arguments
  std::uint32_t key_bytes = 0;  // of keys and parent
  std::uint64_t arguments = 0;  // offset in the region; of a release: id of the get
  std::uint64_t deadline_ns = 0;
  std::uint64_t ordinal = 0;
  std::uint32_t views = 0;  // that there is room for
  std::uint32_t zero2 = 0;
};
static_assert(sizeof(Submission) == 64);

struct Completion {
  std::uint64_t id = 0;
  std::uint32_t status = 0;
  std::uint32_t zero = 0;
};
static_assert(sizeof(Completion) == 16);

struct SegmentRecord {
  std::uint32_t region = 0;
  std::uint32_t zero = 0;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};
static_assert(sizeof(SegmentRecord) == 24);

// Where a run of a block's bytes lies.
struct ViewRecord {
  static constexpr std::uint32_t kSegments = 0xffffffff;  // where they belong in the segments
  std::uint32_t memory = 0;
  std::uint32_t zero = 0;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};
static_assert(sizeof(ViewRecord) == 24);

using Counter = std::atomic<std::uint32_t>;
static_assert(sizeof(Counter) == 4 && Counter::is_always_lock_free);

struct alignas(64) CounterLine {
  Counter value{0};
};
static_assert(sizeof(CounterLine) == 64);

struct ChannelHeader {
  CounterLine submitted;
  CounterLine taken;
  CounterLine daemon_sleeps;
  CounterLine completed;
  CounterLine collected;
  CounterLine client_sleeps;
};
static_assert(sizeof(ChannelHeader) == 384 && offsetof(ChannelHeader, client_sleeps) == 320);

// Where the parts of a channel's memory lie. `depth`: a power of two up to kMaxDepth.
struct ChannelLayout {
  static constexpr std::size_t kSubmissions = 4096;
  std::size_t completions = 0;
  std::size_t progress = 0;
  std::size_t bytes = 0;

  explicit constexpr ChannelLayout(std::uint32_t depth)
      : completions(kSubmissions + depth * sizeof(Submission)),
        progress(completions + depth * sizeof(Completion)),
        bytes((progress + depth * sizeof(CounterLine) + 4095) / 4096 * 4096) {}
};
static_assert(ChannelLayout(1024).completions == 69'632 && ChannelLayout(1024).progress == 86'016);

// Where the parts of a request's arguments lie, from their start.
struct ArgumentsLayout {
  std::uint64_t lengths = 0;
  std::uint64_t key_bytes = 0;
  std::uint64_t results = 0;  // end of what the client writes
  std::uint64_t status = 0;
  std::uint64_t views = 0;
  std::uint64_t bytes = 0;

  constexpr ArgumentsLayout(std::uint32_t keys, std::uint32_t segments, std::uint32_t bytes_of_keys,
                            std::uint32_t views_at_most = 0)
      : lengths(std::uint64_t{segments} * sizeof(SegmentRecord)),
        key_bytes(lengths + (std::uint64_t{keys} + 1) * sizeof(std::uint16_t)),
        results((key_bytes + bytes_of_keys + 7) / 8 * 8),
        status(results + std::uint64_t{keys} * sizeof(std::uint64_t)),
        views((status + (keys == 0 ? 1 : keys) + 7) / 8 * 8),
        bytes(views + std::uint64_t{views_at_most} * sizeof(ViewRecord)) {}
};

struct PoolRecord {
  Text<64> name;
  std::uint64_t blocks = 0;
  std::uint64_t block_bytes = 0;
  std::uint64_t evictions = 0;
  std::uint64_t dirty_bytes = 0;
  std::uint64_t declined = 0;
  std::uint64_t blocks_lost_at_open = 0;
  std::uint32_t devices = 0;
  std::uint32_t tenants = 0;
  std::uint32_t gpus = 0;
  std::uint32_t zero = 0;
};
static_assert(sizeof(PoolRecord) == 128);

struct DeviceRecord {
  Text<64> name;
  Text<16> kind;
  Text<320> description;
  Text<320> state_reason;
  std::array<std::uint64_t, 12> counts{};  // in the order of DeviceInfo
  std::array<double, 5> rates{};           // the same: two configured, two measured, the share
  std::uint32_t state = 0;
  std::uint32_t zero = 0;
  std::array<std::uint64_t, 2> zero2{};
};
static_assert(sizeof(DeviceRecord) == 880);

struct TenantRecord {
  Text<72> name;
  std::array<std::uint64_t, 8> counts{};  // in the order of TenantInfo, from `blocks` on
  std::uint32_t weight = 0;
  std::uint32_t zero = 0;
};
static_assert(sizeof(TenantRecord) == 144);

struct GpuRecord {
  Text<72> name;
  Text<16> kind;
  Text<72> identity;
  Text<320> description;
  Text<320> failure;
};
static_assert(sizeof(GpuRecord) == 800);

struct PresenceHeader {
  std::uint64_t seed = 0;
  std::uint64_t slots = 0;
  Counter superseded{0};
  std::uint32_t zero = 0;
  std::array<std::uint64_t, 5> zero2{};
};
static_assert(sizeof(PresenceHeader) == 64);

// A record as bytes, both ways. Bytes: trivially copyable or made of atomics.
template <class Record>
std::span<const std::byte> BytesOf(const Record& record) {
  return std::as_bytes(std::span(&record, 1));
}
template <class Record>
std::span<std::byte> WritableBytesOf(Record& record) {
  return std::as_writable_bytes(std::span(&record, 1));
}

}  // namespace kvpool::ipc
