#include "device/spdk/address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvpool::device {
namespace {

using ::testing::HasSubstr;

TEST(SpdkAddress, ALocalDrive) {
  const auto address = ParseSpdkAddress("trtype:PCIe traddr:0000:3B:04.0 ns:2");
  ASSERT_TRUE(address) << address.error().message;
  EXPECT_EQ(address->transport, SpdkTransport::kPcie);
  EXPECT_EQ(address->traddr, "0000:3b:04.0");
  EXPECT_EQ(address->namespace_id, 2u);
  EXPECT_EQ(address->ControllerId(), "trtype:PCIe traddr:0000:3b:04.0");
}

TEST(SpdkAddress, TheSameDriveHasOneControllerId) {
  const auto brief = ParseSpdkAddress("traddr:00:04.0  trtype:pcie");
  const auto full = ParseSpdkAddress("trtype=PCIE traddr=0000:00:04.0");
  ASSERT_TRUE(brief && full);
  EXPECT_EQ(*brief, *full);
  EXPECT_EQ(brief->namespace_id, 0u);
}

TEST(SpdkAddress, ARemoteNamespace) {
  const auto address = ParseSpdkAddress(
      "trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:4421 subnqn:nqn.2024-01.org.example:kv "
      "hostnqn:nqn.2024-01.org.example:me ns:1");
  ASSERT_TRUE(address) << address.error().message;
  EXPECT_EQ(address->ControllerId(),
            "trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:4421 "
            "subnqn:nqn.2024-01.org.example:kv");
  EXPECT_EQ(address->hostnqn, "nqn.2024-01.org.example:me");
  EXPECT_EQ(address->namespace_id, 1u);
}

TEST(SpdkAddress, PortAndFamilyHaveDefaults) {
  const auto address = ParseSpdkAddress("trtype:RDMA traddr:fe80::1 subnqn:nqn.a");
  ASSERT_TRUE(address) << address.error().message;
  EXPECT_EQ(address->ControllerId(),
            "trtype:RDMA adrfam:IPv6 traddr:fe80::1 trsvcid:4420 subnqn:nqn.a");
}

TEST(SpdkAddress, WhatIsWrongIsNamed) {
  const struct {
    const char* text;
    const char* named;
  } cases[] = {
      {"", "which transport"},
      {"/dev/nvme0n1", "\"/dev/nvme0n1\" where key:value"},
      {"trtype:FC traddr:x", "transport FC"},
      {"trtype:PCIe", "where (traddr)"},
      {"trtype:PCIe traddr:0000:00:04", "no PCI address"},
      {"trtype:PCIe traddr:0000:00:0g.0", "no PCI address"},
      {"trtype:PCIe traddr:00:04.0 ns:0", "no namespace \"0\""},
      {"trtype:PCIe traddr:00:04.0 ns:-1", "no namespace \"-1\""},
      {"trtype:PCIe traddr:00:04.0 nsid:1", "unknown key \"nsid\""},
      {"trtype:PCIe traddr:", "\"traddr:\" where"},
      {"trtype:TCP traddr:example.org subnqn:n", "no IP address"},
      {"trtype:TCP traddr:127.0.0.1 adrfam:IPv6 subnqn:n", "family IPv6"},
      {"trtype:TCP traddr:127.0.0.1 trsvcid:99999 subnqn:n", "trsvcid 99999"},
      {"trtype:TCP traddr:127.0.0.1", "which subsystem"},
  };
  for (const auto& [text, named] : cases) {
    const auto address = ParseSpdkAddress(text);
    ASSERT_FALSE(address) << text;
    EXPECT_EQ(address.error().status, Status::kInvalid);
    EXPECT_THAT(address.error().message, HasSubstr(named));
  }
}

}  // namespace
}  // namespace kvpool::device
