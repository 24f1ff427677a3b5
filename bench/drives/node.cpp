#include "bench/drives/node.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>
#include <vector>

#include "base/limits.h"
#include "bench/compare/program.h"
#include "device/file/descriptor.h"

namespace kvpool::bench {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kSectorBytes = 512;
constexpr auto kPatience = std::chrono::seconds(10);
constexpr auto kPause = std::chrono::milliseconds(20);

std::string ReadWord(const fs::path& file) {
  std::string word;
  std::ifstream(file) >> word;
  return word;
}

template <class Done>
bool Await(Done done) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!done()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(kPause);
  }
  return true;
}

bool Write(const fs::path& file, const std::string& text) {
  std::ofstream out(file);
  out << text;
  out.flush();
  return out.good();
}

std::string DriverOf(const std::string& pci) {
  std::error_code error;
  const fs::path link = fs::read_symlink(fs::path("/sys/bus/pci/devices") / pci / "driver", error);
  return error ? "" : link.filename().string();
}

Result<void> LoadDriver(const std::string& driver) {
  const fs::path known = fs::path("/sys/bus/pci/drivers") / driver;
  if (fs::exists(known)) return {};
  [[maybe_unused]] const auto loaded = RunProgram({"modprobe", driver});
  // Behind an IOMMU, vfio maps memory by this module; no other asks for it.
  if (driver == "vfio-pci") {
    [[maybe_unused]] const auto mapper = RunProgram({"modprobe", "vfio_iommu_type1"});
  }
  if (fs::exists(known)) return {};
  return Fail(Status::kUnsupported,
              fmt::format("the kernel has no driver {}: load its module, or leave out the methods "
                          "that need it.",
                          driver));
}

}  // namespace

Result<DriveNode> FindDrive(const fs::path& block) {
  struct stat stat{};
  std::error_code error;
  const fs::path real = fs::canonical(block, error);
  DriveNode drive{.name = real.filename().string(), .block = real};
  const fs::path sys = fs::path("/sys/class/block") / drive.name;
  if (error || ::stat(real.c_str(), &stat) != 0 || !S_ISBLK(stat.st_mode) ||
      !fs::exists(sys, error) || fs::exists(sys / "partition", error)) {
    return Fail(Status::kInvalid,
                fmt::format("{} is not a whole drive: name one as /dev/nvme0n1 (kvpool probe lists "
                            "them).",
                            block.string()));
  }
  std::ifstream(sys / "size") >> drive.bytes;
  drive.bytes *= kSectorBytes;
  drive.serial = ReadWord(sys / "device/serial");
  if (ReadWord(sys / "device/transport") == "pcie") drive.pci = ReadWord(sys / "device/address");
  if (drive.name.starts_with("nvme")) {
    const fs::path generic = "/dev/ng" + drive.name.substr(4);
    if (fs::exists(generic, error)) drive.generic = generic;
  }
  return drive;
}

Result<void> BindDriver(const std::string& pci, const std::string& driver) {
  const fs::path device = fs::path("/sys/bus/pci/devices") / pci;
  if (DriverOf(pci) == driver) return {};
  if (auto loaded = LoadDriver(driver); !loaded) return loaded;
  if (!DriverOf(pci).empty()) Write(device / "driver/unbind", pci);
  Write(device / "driver_override", driver);
  Write("/sys/bus/pci/drivers_probe", pci);
  if (Await([&] { return DriverOf(pci) == driver; })) return {};
  return Fail(Status::kIoError,
              fmt::format("the driver {} does not take {}: look into the kernel's log, or leave "
                          "out the methods that need it.",
                          driver, pci));
}

Result<DriveNode> AwaitDrive(const std::string& pci) {
  DriveNode found;
  const bool there = Await([&] {
    for (const auto& entry : fs::directory_iterator("/sys/class/block")) {
      auto drive = FindDrive(fs::path("/dev") / entry.path().filename());
      if (!drive || drive->pci != pci || drive->bytes == 0) continue;
      found = *drive;
      return true;
    }
    return false;
  });
  if (there) return found;
  return Fail(Status::kNotFound,
              fmt::format("the drive at {} does not come back to the kernel's driver: look into "
                          "the kernel's log.",
                          pci));
}

Result<void> FillStart(const DriveNode& drive, std::span<const std::byte> content,
                       std::uint64_t bytes) {
  const std::size_t pieces = content.size() / kMiB;
  const device::Descriptor fd(open(drive.block.c_str(), O_WRONLY | O_DIRECT | O_EXCL | O_CLOEXEC));
  bool good = static_cast<bool>(fd);
  for (std::uint64_t at = 0; good && at < bytes; at += kMiB) {
    const auto piece = content.subspan(at / kMiB % pieces * kMiB, kMiB);
    good =
        pwrite(fd.get(), piece.data(), kMiB, static_cast<off_t>(at)) == static_cast<ssize_t>(kMiB);
  }
  if (good && fsync(fd.get()) == 0) return {};
  return Fail(Status::kIoError,
              fmt::format("cannot write to {}: {}.", drive.block.string(), std::strerror(errno)),
              errno);
}

Result<void> WipeEnds(const DriveNode& drive) {
  const device::Descriptor fd(open(drive.block.c_str(), O_WRONLY | O_EXCL | O_CLOEXEC));
  const std::vector<std::byte> zeros(std::min<std::uint64_t>(kMiB, drive.bytes / 2));
  bool good = static_cast<bool>(fd);
  for (const std::uint64_t at : {std::uint64_t{0}, drive.bytes - zeros.size()}) {
    good = good && pwrite(fd.get(), zeros.data(), zeros.size(), static_cast<off_t>(at)) ==
                       static_cast<ssize_t>(zeros.size());
  }
  if (good && fsync(fd.get()) == 0) return {};
  return Fail(Status::kIoError,
              fmt::format("cannot wipe {}: {}.", drive.block.string(), std::strerror(errno)),
              errno);
}

}  // namespace kvpool::bench
