// Every limit of kvpool. docs/architecture.md says what each protects.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvpool {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;

inline constexpr std::size_t kMaxNameBytes = 64;  // of a pool, a device, a link, a tenant
inline constexpr std::size_t kMaxKeyBytes = 512;
inline constexpr std::size_t kMaxBatchKeys = 65'536;
inline constexpr std::size_t kMaxDevices = 64;
inline constexpr std::size_t kMaxGpus = 16;
inline constexpr std::size_t kMaxTenants = 64;
inline constexpr std::size_t kMaxTenantMembers = 1024;  // users, groups and readers, each
inline constexpr std::size_t kMaxUserNameBytes = 256;   // of a Unix user or group
inline constexpr std::uint32_t kMaxTenantWeight = 1000;
inline constexpr std::size_t kMaxSlowSteps = 16;  // speeds that a slowed device takes on
inline constexpr std::uint32_t kMaxLayers = 1024;
inline constexpr std::uint32_t kMaxUnitsPerBlock = 4096;
inline constexpr std::size_t kMaxRequestsPerChannel = 1024;
inline constexpr std::size_t kMaxRememberedKeys = 1 << 20;  // that were put and not stored

inline constexpr std::size_t kMaxSocketBytes = 107;  // of a socket's path: the kernel's

// Space on a device is handed out in slabs; a slab is cut into equal slots of one space.
inline constexpr std::uint64_t kSlabBytes = 2 * kMiB;
inline constexpr std::uint32_t kMinSlotBytes = 32 * kKiB;
inline constexpr std::uint32_t kMaxUnitBytes = 1 * kMiB;  // one I/O of any device carries a unit

// What every transfer to a drive is aligned to.
inline constexpr std::uint32_t kIoAlignment = 4096;

// When a device is drained (pool/health.h). A transfer that a device holds for longer than its
// patience was not just issued late: three requests that end by their deadline over such a one,
// with nothing done in between, are no hiccup.
inline constexpr std::int64_t kPatienceNs = 250'000'000;
// What a device has after a deadline to let go of a transfer before it is given up.
inline constexpr std::int64_t kCancelGraceNs = 50'000'000;
inline constexpr std::uint32_t kMaxMissedDeadlinesInARow = 3;
inline constexpr std::uint32_t kMaxErrorsInARow = 16;
// Of traffic, read and written: errors and wrong bytes count within so much of it.
inline constexpr std::uint64_t kHealthWindowBytes = 1 * kGiB;
inline constexpr std::uint32_t kMaxErrorsInWindow = 64;
inline constexpr std::uint32_t kMaxChecksumFailuresInWindow = 8;

}  // namespace kvpool
