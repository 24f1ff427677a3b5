#include "bench/gpu/figures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/gpu/model.h"

namespace kvpool::bench {
namespace {

using ::testing::HasSubstr;

Outcome Of(std::string method, double seconds, double first_s, double ttft_s) {
  return {.model = "M",
          .tokens = 1024,
          .layers = 10,
          .method = std::move(method),
          .bytes = 1'000'000'000,
          .load = {seconds, first_s, ttft_s},
          .devices_bytes_per_s = 2e9,
          .arithmetic_s = ttft_s};
}

const Yardsticks kYardsticks{"null stager", 3e9, 1e12};

TEST(GpuModels, ComputeByTheArithmetic) {
  for (const Model& model : Models()) {
    EXPECT_GT(FlopsFor(model, 0, 2048), 2 * FlopsFor(model, 0, 1024)) << model.geometry.name;
    EXPECT_NEAR(FlopsFor(model, 0, 1024) + FlopsFor(model, 1024, 1024), FlopsFor(model, 0, 2048),
                1e-6 * FlopsFor(model, 0, 2048) + 2.0 * 4 * 4096 * 24 * 128 * 1024)
        << model.geometry.name;
  }
  EXPECT_NEAR(FlopsFor(Models()[0], 0, 1), 16e9 + 4.0 * 4096 * 32, 1);
}

TEST(GpuFigures, MeetTheirTargetsOrSaySo) {
  const std::vector<Outcome> good = {Of("serial", 2, 2, 5), Of("memory", 1, 0.1, 1),
                                     Of("files", 1, 0.1, 1), Of("pooled", 0.5, 0.05, 1)};
  for (const Target& target : TargetsOf(good, kYardsticks)) {
    if (target.name.find("memory alone") != std::string::npos) {
      EXPECT_NEAR(target.reached, 0.5, 1e-9);
      EXPECT_FALSE(target.met());
    } else {
      EXPECT_TRUE(target.met()) << target.name;
    }
  }
  const std::vector<Outcome> late = {Of("serial", 2, 2, 2), Of("pooled", 1, 0.2, 11)};
  for (const Target& target : TargetsOf(late, kYardsticks))
    EXPECT_FALSE(target.met()) << target.name;
  EXPECT_EQ(TargetsOf(late, kYardsticks).size(), 3u);
}

TEST(GpuFigures, APictureHasABarForEach) {
  const std::vector<Outcome> outcomes = {Of("serial", 2, 2, 4), Of("pooled", 1, 0.1, 1)};
  const std::string picture = PictureOf(outcomes, kYardsticks);
  EXPECT_THAT(picture, HasSubstr("width=\"560.0\""));
  EXPECT_THAT(picture, HasSubstr("width=\"140.0\""));
  EXPECT_THAT(picture, HasSubstr("null stager"));
}

TEST(GpuFigures, RowsNameTheStager) {
  const std::vector<Outcome> outcomes = {Of("pooled", 1, 0.1, 1)};
  const auto rows = RowsOf(outcomes, kYardsticks);
  ASSERT_GE(rows.size(), 2u);
  for (const Row& row : rows) EXPECT_EQ(row.note, "null stager");
}

}  // namespace
}  // namespace kvpool::bench
