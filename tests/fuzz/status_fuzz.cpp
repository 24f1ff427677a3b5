// What `kvpool top` is told by a daemon.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "status/status.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kvpool::status;
  const auto status = FromJson({reinterpret_cast<const char*>(data), size});
  if (!status) return 0;
  // What was understood is understood again, the same way.
  const std::string json = ToJson(*status);
  const auto again = FromJson(json);
  KVPOOL_CHECK(again && ToJson(*again) == json);
  return 0;
}
