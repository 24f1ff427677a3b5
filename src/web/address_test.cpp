#include "web/address.h"

#include <gtest/gtest.h>

namespace kvpool::web {
namespace {

TEST(Address, TakesAPortOrAnAddressWithOne) {
  EXPECT_EQ(ParseAddress("9464")->Text(), "127.0.0.1:9464");
  EXPECT_EQ(ParseAddress("localhost:1")->Text(), "127.0.0.1:1");
  EXPECT_EQ(ParseAddress("[::1]:9464")->Text(), "[::1]:9464");
  EXPECT_TRUE(ParseAddress("[::1]:9464")->loopback);
  EXPECT_TRUE(ParseAddress("127.1.2.3:0")->loopback);
  EXPECT_FALSE(ParseAddress("0.0.0.0:9464")->loopback);
  for (const char* wrong : {"", ":", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536",
                            "host:9464", "::1:9464", "[::1]9464", "[::1:9464", "70000", "1,2"}) {
    EXPECT_FALSE(ParseAddress(wrong)) << wrong;
  }
}

TEST(Address, KnowsItsOwnNames) {
  const Address loopback = *ParseAddress("9464");
  for (const char* own : {"localhost", "LocalHost:9464", "127.0.0.1:9464", "[::1]:9464", "[::1]"}) {
    EXPECT_TRUE(IsOwnHost(own, loopback)) << own;
  }
  for (const char* other : {"", "evil.example", "evil.example:9464", "localhost.evil.example",
                            "127.0.0.1.evil.example:9464", "192.0.2.7:9464", "[::2]:9464", "["}) {
    EXPECT_FALSE(IsOwnHost(other, loopback)) << other;
  }
  const Address any = *ParseAddress("0.0.0.0:9464");
  EXPECT_TRUE(IsOwnHost("192.0.2.7:9464", any));
  EXPECT_FALSE(IsOwnHost("evil.example", any));
}

}  // namespace
}  // namespace kvpool::web
