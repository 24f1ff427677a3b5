// The filesystem's cost on this machine's own disk.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/descriptor.h"
#include "base/limits.h"
#include "base/units.h"
#include "bench/compare/measure.h"
#include "bench/compare/plan.h"
#include "bench/compare/program.h"
#include "bench/drives/contenders.h"
#include "bench/drives/drives.h"
#include "bench/drives/holding.h"

namespace kvpool::bench {
namespace {

constexpr std::uint64_t kMeasured = 256 * kMiB;

// A loop device over a file in the folder, past the page cache; gone with this.
class LoopDevice {
 public:
  static Result<LoopDevice> Make(const std::filesystem::path& file, std::uint64_t bytes);
  LoopDevice(LoopDevice&& other) noexcept
      : path_(std::exchange(other.path_, {})), file_(std::move(other.file_)) {}
  LoopDevice& operator=(LoopDevice&&) = delete;
  ~LoopDevice() {
    if (path_.empty()) return;
    [[maybe_unused]] const auto detached = RunProgram({"losetup", "--detach", path_.string()});
    std::error_code ignored;
    std::filesystem::remove(file_, ignored);
  }

  const std::filesystem::path& path() const { return path_; }

 private:
  LoopDevice(std::filesystem::path path, std::filesystem::path file)
      : path_(std::move(path)), file_(std::move(file)) {}
  std::filesystem::path path_;
  std::filesystem::path file_;
};

Result<LoopDevice> LoopDevice::Make(const std::filesystem::path& file, std::uint64_t bytes) {
  {
    const Descriptor fd(open(file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    if (!fd || fallocate(fd.get(), 0, 0, static_cast<off_t>(bytes)) != 0) {
      return Fail(Status::kIoError,
                  fmt::format("cannot make {}: {}.", file.string(), std::strerror(errno)), errno);
    }
  }
  auto ended = RunProgram({"losetup", "--direct-io=on", "--find", "--show", file.string()});
  std::error_code ignored;
  if (!ended || ended->exit_code != 0 || !ended->output.starts_with("/dev/")) {
    std::filesystem::remove(file, ignored);
    return Fail(Status::kUnsupported,
                "no loop device can be made here (it takes root): the raw path is left out.");
  }
  return LoopDevice(ended->output.substr(0, ended->output.find('\n')), file);
}

Result<std::unique_ptr<Contender>> MakeLoopContender(const Setting& setting,
                                                     std::span<std::byte> buffer) {
  auto loop = LoopDevice::Make(setting.folder / "loop", setting.context_bytes() + 4 * kSlabBytes);
  if (!loop) return tl::unexpected(loop.error());
  DeviceConfig device;
  device.name = "loop";
  device.kind = DeviceKind::kBlock;
  device.path = loop->path();
  auto inner = MakeRawContender(device, setting, 0, buffer);
  if (!inner) return inner;
  return Hold(std::move(*loop), std::move(*inner));
}

Result<std::unique_ptr<Contender>> MakeDiskContender(std::string_view method,
                                                     const Setting& setting,
                                                     std::span<std::byte> buffer) {
  if (method == "loop") return MakeLoopContender(setting, buffer);
  return MakeSerialContender(setting, method == "file-direct");
}

// Whether this process may make a loop device: asked by making a small one.
bool TakesLoop(const std::filesystem::path& folder) {
  return LoopDevice::Make(folder / "probe-loop", kMiB).has_value();
}

}  // namespace

Result<BenchResult> RunDiskBench(BenchOptions options) {
  options.bench_name = "disk";
  options.methods = {"file-buffered", "file-direct", "loop"};
  options.devices.clear();
  options.timelines = false;
  Plan plan;
  plan.setting = MakeSetting(options);
  plan.cases = MakeCases(options, plan.setting.blocks);
  auto scratch = Scratch::Make(options.dir);
  if (!scratch) return tl::unexpected(scratch.error());
  plan.scratch.emplace(std::move(*scratch));
  plan.setting.folder = plan.scratch->path();
  auto speed = MeasureFolder(plan.setting.folder, kMeasured, options.seed);
  if (!speed) return tl::unexpected(speed.error());
  plan.setting.devices.push_back({.name = "disk",
                                  .kind = DeviceKind::kFile,
                                  .read_bytes_per_s = speed->read_bytes_per_s,
                                  .write_bytes_per_s = speed->write_bytes_per_s});
  if (!TakesLoop(plan.setting.folder)) {
    options.methods.pop_back();
    plan.warnings.push_back(
        "No loop device can be made here (it takes root), so the path without a filesystem is "
        "left out.");
  }
  plan.make = MakeDiskContender;
  AddFacts(options, plan);
  return RunPlan(options, std::move(plan));
}

}  // namespace kvpool::bench
