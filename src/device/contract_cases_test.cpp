// Every back end and wrapper that a test machine has, held to the contract.
#include "device/contract_test.h"
#include "device/slow.h"

namespace kvpool::device {
namespace {

Result<std::unique_ptr<Device>> MakeFile(const ScratchFolder& folder, OpenOptions options = {},
                                         const std::function<void(DeviceConfig&)>& change = {}) {
  DeviceConfig config = FileConfig(folder / "device");
  if (change) change(config);
  if (auto created = CreateDevice(config, Creation()); !created) {
    return tl::unexpected(created.error());
  }
  return OpenDevice(config, options);
}

Result<std::unique_ptr<Device>> MakeMemory(const std::function<void(DeviceConfig&)>& change = {}) {
  DeviceConfig config = MemoryConfig();
  if (change) change(config);
  return OpenDevice(config);
}

// Strikes nothing in these tests, and yet everything passes through the wrapper.
constexpr const char* kNoFault = "error after=1000000000";
constexpr SlowConfig kSlow{.bytes_per_s = 2e9, .latency_us = 50, .seed = 3};

const ContractCase kCases[] = {
    {"memory", [](const ScratchFolder&) { return MakeMemory(); }},
    {"file", [](const ScratchFolder& folder) { return MakeFile(folder); }},
    {"file_registered", [](const ScratchFolder& folder) { return MakeFile(folder); }, true},
    {"file_threads",
     [](const ScratchFolder& folder) { return MakeFile(folder, {.avoid_io_uring = true}); }},
    {"slow_memory",
     [](const ScratchFolder&) { return MakeMemory([](DeviceConfig& c) { c.slow = kSlow; }); }},
    {"slow_file",
     [](const ScratchFolder& folder) {
       return MakeFile(folder, {}, [](DeviceConfig& c) { c.slow = kSlow; });
     }},
    {"faulty_memory",
     [](const ScratchFolder&) { return MakeMemory([](DeviceConfig& c) { c.faults = kNoFault; }); }},
    {"faulty_file",
     [](const ScratchFolder& folder) {
       return MakeFile(folder, {}, [](DeviceConfig& c) { c.faults = kNoFault; });
     }},
    {"slow_faulty_file",
     [](const ScratchFolder& folder) {
       return MakeFile(folder, {}, [](DeviceConfig& c) {
         c.faults = kNoFault;
         c.slow = kSlow;
       });
     }},
    {"faulty_slow_file",
     [](const ScratchFolder& folder) {
       return MakeFile(folder, {.faults_outside_slow = true}, [](DeviceConfig& c) {
         c.faults = kNoFault;
         c.slow = kSlow;
       });
     }},
};

INSTANTIATE_TEST_SUITE_P(Devices, Contract, ::testing::ValuesIn(kCases),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace kvpool::device
