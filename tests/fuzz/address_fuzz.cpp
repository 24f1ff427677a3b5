// Any text as the address of an NVMe namespace: one that names itself the same way again, or a
// refusal with words.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "device/spdk/address.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto address = kvpool::device::ParseSpdkAddress(text);
  if (!address) {
    KVPOOL_CHECK(!address.error().message.empty());
    return 0;
  }
  const auto again = kvpool::device::ParseSpdkAddress(address->ControllerId());
  KVPOOL_CHECK(again.has_value());
  KVPOOL_CHECK(again->ControllerId() == address->ControllerId());
  return 0;
}
