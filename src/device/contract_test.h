// The test of what every device promises, to be run over any of them: contract_cases_test.cpp does.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <ostream>

#include "device/test_support.h"

namespace kvpool::device {

struct ContractCase {
  const char* name;
  std::function<Result<std::unique_ptr<Device>>(const ScratchFolder&)> make;
  bool registered_memory = false;

  friend void PrintTo(const ContractCase& one, std::ostream* out) { *out << one.name; }
};

// Its device has a capacity of 8 MiB, all zeros.
class Contract : public ::testing::TestWithParam<ContractCase> {
 protected:
  void SetUp() override {
    auto device = GetParam().make(folder_);
    ASSERT_TRUE(device) << device.error().message;
    device_ = std::move(*device);
    if (GetParam().registered_memory) Buffer::register_in = &registered_;
    owner_ = std::make_unique<Owner>(*device_);
  }

  void TearDown() override { Buffer::register_in = nullptr; }

  const Traits& traits() const { return device_->traits(); }
  std::uint32_t Step() const { return std::max(traits().alignment, 512u); }

  ScratchFolder folder_;
  mem::RegisteredMemory registered_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Owner> owner_;
};

}  // namespace kvpool::device
