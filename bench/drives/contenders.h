// The ways to read a drive that the pool is compared with.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bench/compare/contender.h"
#include "device/machine.h"

namespace kvpool::bench {

// Files on ext4, made anew on the drive and gone with the contender; read as the serial caches do.
// `setting`: its folder is where to mount it.
Result<std::unique_ptr<Contender>> MakeMountedContender(const device::MachineDrive& drive,
                                                        Setting setting, bool direct);

// The context from a device's start, by one thread and one queue of that back end.
// `config`: of the device; it is made here and removed with the contender. `buffer` outlives it.
Result<std::unique_ptr<Contender>> MakeRawContender(const DeviceConfig& config,
                                                    const Setting& setting, std::size_t position,
                                                    std::span<std::byte> buffer);

// Another program on all of `drives` at once.
enum class Roofline : std::uint8_t { kFioBlock, kFioNvme, kSpdkPerf };
Result<std::unique_ptr<Contender>> MakeRooflineContender(std::vector<device::MachineDrive> drives,
                                                         const Setting& setting, Roofline by);
// Bytes per second, of what spdk_nvme_perf prints; absent where it did not finish.
std::optional<double> ParseSpdkPerf(std::string_view text);

}  // namespace kvpool::bench
