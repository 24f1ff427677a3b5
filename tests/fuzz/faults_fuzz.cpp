// Any text as a script of faults: a plan that can be followed, or a refusal with words.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "device/fault_script.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using kvpool::device::Op;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto script = kvpool::device::ParseFaults(text);
  if (!script) {
    KVPOOL_CHECK(script.error().status == kvpool::Status::kInvalid);
    KVPOOL_CHECK(!script.error().message.empty());
    return 0;
  }
  kvpool::device::FaultPlan plan(*script);
  std::uint64_t random = 0;
  for (int i = 0; i < 30; ++i) {
    const Op op = i % 3 == 0 ? Op::kRead : i % 3 == 1 ? Op::kWrite : Op::kFlush;
    const kvpool::device::Fault fault = plan.Next(op, random);
    const bool needs_bytes =
        fault == kvpool::device::Fault::kShort || fault == kvpool::device::Fault::kFlip;
    KVPOOL_CHECK(!(needs_bytes && op == Op::kFlush));
  }
  return 0;
}
