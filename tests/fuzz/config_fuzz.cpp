// Any bytes: a valid configuration that survives its own text, or a refusal with words.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "kvpool/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = kvpool::Config::Parse(text);
  if (!config) {
    KVPOOL_CHECK(config.error().status == kvpool::Status::kInvalid);
    KVPOOL_CHECK(!config.error().message.empty());
    return 0;
  }
  KVPOOL_CHECK(config->Validate().empty());
  const auto again = kvpool::Config::Parse(config->ToToml());
  KVPOOL_CHECK(again.has_value());
  KVPOOL_CHECK(*again == *config);
  return 0;
}
