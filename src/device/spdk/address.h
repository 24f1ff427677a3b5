// SpdkAddress: where an NVMe namespace is, as SPDK writes it: a transport id. Pure; there in every
// build.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kvpool/result.h"

namespace kvpool::device {

enum class SpdkTransport : std::uint8_t { kPcie, kTcp, kRdma };

struct SpdkAddress {
  SpdkTransport transport = SpdkTransport::kPcie;
  std::string traddr;              // "0000:00:04.0", or a host's IP address
  std::string trsvcid;             // the port; empty for PCIe
  std::string subnqn;              // the subsystem; empty for PCIe
  std::string hostnqn;             // who we say we are; empty: SPDK's own name of this process
  std::uint32_t namespace_id = 0;  // 0: the only one that is there

  // The controller alone, as SPDK parses it. The same for every way to write the same address.
  std::string ControllerId() const;

  friend bool operator==(const SpdkAddress&, const SpdkAddress&) = default;
};

// "trtype:PCIe traddr:0000:00:04.0", "trtype:TCP traddr:192.0.2.7 subnqn:nqn... ns:1". Defaults:
// port 4420, address family by the look of traddr. kInvalid: one sentence with the first problem.
Result<SpdkAddress> ParseSpdkAddress(std::string_view text);

}  // namespace kvpool::device
