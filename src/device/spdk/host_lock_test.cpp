#include "device/spdk/host_lock.h"

#include <gtest/gtest.h>

#include <optional>

namespace kvpool::device {
namespace {

TEST(HostLock, OneHolderAtATime) {
  const std::string name = "host lock test of " + std::to_string(::getpid());
  std::optional<Result<HostLock>> first = HostLock::Take(name);
  ASSERT_TRUE(*first) << first->error().message;
  EXPECT_TRUE(HostLock::Take(name + " and another"));
  const auto second = HostLock::Take(name);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().status, Status::kBusy);
  first.reset();
  EXPECT_TRUE(HostLock::Take(name));
}

}  // namespace
}  // namespace kvpool::device
