#include <fmt/format.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstring>

#include "bench/compare/program.h"
#include "bench/drives/contenders.h"
#include "bench/drives/drive.h"
#include "bench/drives/holding.h"

namespace kvpool::bench {
namespace {

// By its path where it lies there: what a minimal system finds first may be another program.
std::string MakeExt4Program() {
  const std::string usual = "/sbin/mke2fs";
  std::error_code error;
  return std::filesystem::exists(usual, error) ? usual : "mke2fs";
}

// A drive with a new ext4 on it, mounted while this lives.
class Mounted {
 public:
  static Result<std::unique_ptr<Mounted>> Make(const device::MachineDrive& drive,
                                               const std::filesystem::path& folder);
  ~Mounted() {
    umount2(folder_.c_str(), 0);
    [[maybe_unused]] const auto wiped = WipeEnds(drive_);
  }

 private:
  Mounted(const device::MachineDrive& drive, std::filesystem::path folder)
      : drive_(drive), folder_(std::move(folder)) {}
  const device::MachineDrive drive_;
  const std::filesystem::path folder_;
};

Result<std::unique_ptr<Mounted>> Mounted::Make(const device::MachineDrive& drive,
                                               const std::filesystem::path& folder) {
  // Nothing is initialised later, in the background, while something is measured.
  const std::string program = MakeExt4Program();
  auto made = RunProgram({program, "-q", "-F", "-t", "ext4", "-E",
                          "lazy_itable_init=0,lazy_journal_init=0", drive.block.string()});
  if (!made) return tl::unexpected(made.error());
  if (made->exit_code != 0) {
    return Fail(Status::kIoError,
                fmt::format("{} makes no filesystem on {}: try it by hand, or leave the ext4 "
                            "methods out.",
                            program, drive.block.string()));
  }
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (mount(drive.block.c_str(), folder.c_str(), "ext4", MS_NOATIME, "") != 0) {
    return Fail(Status::kIoError,
                fmt::format("cannot mount {} on {}: {}; run as root, or leave the ext4 methods "
                            "out.",
                            drive.block.string(), folder.string(), std::strerror(errno)),
                errno);
  }
  return std::unique_ptr<Mounted>(new Mounted(drive, folder));
}

}  // namespace

Result<std::unique_ptr<Contender>> MakeMountedContender(const device::MachineDrive& drive,
                                                        Setting setting, bool direct) {
  auto mounted = Mounted::Make(drive, setting.folder);
  if (!mounted) return tl::unexpected(mounted.error());
  auto inner = MakeSerialContender(setting, direct);
  if (!inner) return inner;
  return Hold(std::move(*mounted), std::move(*inner));
}

}  // namespace kvpool::bench
