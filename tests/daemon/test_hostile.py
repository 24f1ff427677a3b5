"""A client that lies harms nobody: it is refused or disconnected, and nothing of it stays."""
import fcntl
import mmap
import os
import random
import struct
import unittest

from harness import DaemonTest, Raw, WatchedTest

MIB = 1 << 20
OPEN_SPACE, OPEN_CHANNEL, CLOSE_CHANNEL, ADD_REGION, REMOVE_REGION, INFO, PRESENCE = range(1, 8)
LENT_MEMORY = 9
F_ADD_SEALS, SHRINK_AND_GROW = 1033, 6
INVALID = 4
GET, PUT, DROP, FLUSH, RELEASE = range(5)
LEASE = 16


def region(bytes_=2 * MIB, sealed=True):
    fd = os.memfd_create("liar", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, bytes_)
    if sealed:
        fcntl.fcntl(fd, F_ADD_SEALS, SHRINK_AND_GROW)
    return fd


def space(model=b"m", owner=b""):
    return struct.pack("<I8HI", 4, len(model), 0, 0, 0, 0, 0, 0, len(owner), 0) + model + owner


class Liar(Raw):
    """Past the hello, with a space, a channel of depth 8 and a region for arguments and one for data."""

    def __init__(self, path, owner=b""):
        super().__init__(path)
        self.hello()
        _, _, tables = self.ask(OPEN_SPACE, space(owner=owner))
        self.table = os.pread(tables[0], 1 << 20, 64)  # the digests of the space's keys
        os.close(tables[0])
        _, _, descriptors = self.ask(OPEN_CHANNEL, struct.pack("<II", 8, 0))
        self.memory = mmap.mmap(descriptors[0], 8192)
        self.bell = descriptors[1]
        os.close(descriptors[0])
        self.regions = {}
        for purpose in (0, 1):
            fd = region()
            _, answer, _ = self.ask(ADD_REGION, struct.pack("<QII", 2 * MIB, purpose, 0), [fd])
            self.regions[purpose] = struct.unpack("<II", answer)[0], mmap.mmap(fd, 2 * MIB)
            os.close(fd)

    def set_counter(self, offset, value):
        self.memory[offset:offset + 4] = struct.pack("<I", value)

    def submit(self, position, id_=0, kind=GET, flags=0, space_=0, keys=1, segments=1, region_=None, key_bytes=3,
               offset=0, zero=0, views=0, zero2=0):
        region_ = self.regions[0][0] if region_ is None else region_
        record = struct.pack("<QBBHIIIIIQQQII", id_, kind, flags, zero, space_, keys, segments, region_, key_bytes,
                             offset, 0, 0, views, zero2)
        at = 4096 + position % 8 * 64
        self.memory[at:at + 64] = record
        self.set_counter(0, position + 1)
        os.write(self.bell, b"x")

    def arguments(self, segment_region=None, offset=0, bytes_=65536, lengths=(3, 0), text=b"key"):
        segment_region = self.regions[1][0] if segment_region is None else segment_region
        data = struct.pack("<IIQQ", segment_region, 0, offset, bytes_) + struct.pack("<2H", *lengths) + text
        self.regions[0][1][0:len(data)] = data

    def status(self, position):
        """Of the completion at `position`, when it is there."""
        while struct.unpack("<I", self.memory[192:196])[0] <= position:
            self.set_counter(320, 1)
            if struct.unpack("<I", self.memory[192:196])[0] <= position:
                os.read(self.bell, 64)
        at = 4096 + 8 * 64 + position % 8 * 16
        return struct.unpack("<QII", self.memory[at:at + 16])[1]

    def __exit__(self, *_):
        os.close(self.bell)
        super().__exit__()


class Hello(DaemonTest):
    def test_another_version_is_told_which_one_is_spoken(self):
        with Raw(self.daemon.socket) as raw:
            answer = raw.hello(version=3)
            self.assertEqual(struct.unpack("<8sI", answer[:12]), (b"KVPOOLIP", 4))
            self.assertIn(b"speaks version 3 and the daemon 4", answer)
            self.assertTrue(raw.ended())

    def test_what_is_no_hello_ends_the_connection(self):
        for data in (b"GET / HTTP/1.1\r\n\r\n" + bytes(80), bytes(80), b"KVPOOLIP"):
            with Raw(self.daemon.socket) as raw:
                raw.socket.sendall(data)
                self.assertTrue(raw.ended())  # a truncated one after 5 s
        self.assert_serves()


class Messages(DaemonTest):
    def setUp(self):
        super().setUp()
        self.before = self.daemon.holdings()

    def test_a_wrong_number_of_descriptors_ends_the_connection(self):
        for count, claimed in ((0, 1), (1, 0), (2, 2), (3, 1), (1, 2)):
            with Raw(self.daemon.socket) as raw:
                raw.hello()
                fds = [region() for _ in range(count)]
                self.assertIsNone(raw.ask(ADD_REGION, struct.pack("<QII", 2 * MIB, 1, 0), fds, claimed))
                for fd in fds:
                    os.close(fd)
        self.assert_leaves_nothing(self.before)

    def test_memory_that_could_shrink_or_is_smaller_is_refused(self):
        with Raw(self.daemon.socket) as raw:
            raw.hello()
            for fd, claimed in ((region(sealed=False), 2 * MIB), (region(), 4 * MIB), (region(MIB), MIB),
                                (region(), 0), (region(), 2**64 - 2 * MIB), (os.open("/dev/zero", os.O_RDWR), 2 * MIB),
                                (os.open("/dev/null", os.O_RDWR), 2 * MIB)):
                status, _, _ = raw.ask(ADD_REGION, struct.pack("<QII", claimed, 1, 0), [fd])
                self.assertNotEqual(status, 0)
                os.close(fd)
        self.assert_leaves_nothing(self.before)

    def test_numbers_of_others_are_none_of_ours(self):
        with Liar(self.daemon.socket), Raw(self.daemon.socket) as raw:
            raw.hello()
            for kind in (CLOSE_CHANNEL, REMOVE_REGION, PRESENCE, LENT_MEMORY):
                for number in (0, 1, 2, 3, 2**32 - 1):
                    self.assertEqual(raw.ask(kind, struct.pack("<II", number, 0))[0], INVALID)
        self.assert_leaves_nothing(self.before)

    def test_limits_hold(self):
        with Raw(self.daemon.socket) as raw:
            raw.hello()
            for depth in (0, 3, 2048, 2**31):
                self.assertEqual(raw.ask(OPEN_CHANNEL, struct.pack("<II", depth, 0))[0], INVALID)
            results = []
            for _ in range(70):
                status, _, fds = raw.ask(OPEN_CHANNEL, struct.pack("<II", 8, 0))
                results.append(status)
                for fd in fds:
                    os.close(fd)
            self.assertEqual([bool(status) for status in results], [False] * 64 + [True] * 6)
            self.assertEqual(raw.ask(OPEN_SPACE, space(b"m" * 5000))[0], INVALID)
            self.assertEqual(raw.ask(OPEN_SPACE, b"short")[0], INVALID)
            self.assertEqual(raw.ask(99, b"")[0], INVALID)
            raw.socket.sendall(struct.pack("<IHHII", 0x4D50564B, INFO, 0, 2 * MIB, 1))
            self.assertTrue(raw.ended())
        self.assert_leaves_nothing(self.before)

    def test_ever_new_spaces_leave_nothing(self):
        for client in range(8):
            with Raw(self.daemon.socket) as raw:
                raw.hello()
                for number in range(150):
                    status, _, fds = raw.ask(OPEN_SPACE, space(f"{client} {number}".encode()))
                    self.assertEqual((status, len(fds)), (0, 1))
                    os.close(fds[0])
                self.assertGreater(self.daemon.holdings()[0], self.before[0] + 149)  # the control
            self.assert_leaves_nothing(self.before)
        self.assert_serves()

    def test_who_does_not_read_answers_is_sent_away(self):
        with Raw(self.daemon.socket) as raw:
            raw.hello()
            message = struct.pack("<IHHII", 0x4D50564B, INFO, 0, 0, 1)
            with self.assertRaises((BrokenPipeError, ConnectionResetError)):
                for _ in range(100_000):
                    raw.socket.sendall(message)
        self.assert_leaves_nothing(self.before)


class Rings(WatchedTest):
    def test_an_honest_one_is_served(self):  # the control of all others here
        with Liar(self.daemon.socket) as liar:
            liar.arguments()
            liar.regions[1][1][0:65536] = os.urandom(65536)
            stored = liar.regions[1][1][0:65536]
            liar.submit(0, id_=0, kind=PUT)
            self.assertEqual(liar.status(0), 0)
            liar.regions[1][1][0:65536] = bytes(65536)
            liar.set_counter(256, 1)
            liar.submit(1, id_=1 << 32, kind=GET)
            self.assertEqual(liar.status(1), 0)
            self.assertEqual(liar.regions[1][1][0:65536], stored)

    def test_what_was_leased_by_nobody_is_not_released(self):
        with Liar(self.daemon.socket) as liar:
            liar.arguments()
            for position, lease in enumerate((0, 77, 2**64 - 1)):
                liar.submit(position, id_=position, kind=RELEASE, offset=lease)
            liar.submit(3, id_=3, kind=GET)  # no bell rings for the others
            self.assertEqual([liar.status(position) for position in (3, 0, 1, 2)], [0] * 4)

    def test_a_lease_is_seen_and_not_written_by_its_client(self):
        with Liar(self.daemon.socket) as liar:
            stored = os.urandom(65536)
            liar.regions[1][1][0:65536] = stored
            liar.arguments()
            liar.submit(0, id_=0, kind=PUT)
            self.assertEqual(liar.status(0), 0)
            liar.set_counter(256, 1)
            liar.submit(1, id_=1 << 32, kind=GET, flags=LEASE, views=8)
            self.assertEqual(liar.status(1), 0)
            at = 24 + 4 + 3 + 1 + 8 + 8  # segment, lengths, key, padding, stored bytes, status
            number, _, offset, length = struct.unpack("<IIQQ", liar.regions[0][1][at:at + 24])
            status, answer, (fd,) = liar.ask(LENT_MEMORY, struct.pack("<II", 0, 0))
            self.assertEqual((status, number, length), (0, struct.unpack("<IIQ", answer)[0], 65536))
            self.assertEqual(os.pread(fd, length, offset), stored)
            for protection in (mmap.PROT_WRITE, mmap.PROT_READ | mmap.PROT_WRITE):
                self.assertRaises(PermissionError, mmap.mmap, fd, 2 * MIB, mmap.MAP_SHARED, protection)
            self.assertRaises(OSError, os.pwrite, fd, b"x", offset)
            self.assertRaises(OSError, os.ftruncate, fd, 0)
            os.close(fd)  # and the lease is left behind

    def test_the_background_is_a_flag(self):
        with Liar(self.daemon.socket) as liar:
            liar.arguments()
            liar.submit(0, id_=0, kind=PUT, flags=8)
            self.assertEqual(liar.status(0), 0)

    def test_bad_offsets_and_regions_are_invalid(self):
        with Liar(self.daemon.socket) as liar:
            bad = (dict(offset=2 * MIB), dict(offset=2 * MIB - 65535), dict(offset=2**64 - 1), dict(bytes_=2**64 - 1),
                   dict(segment_region=77), dict(segment_region=liar.regions[0][0]), dict(lengths=(4, 0)),
                   dict(lengths=(3, 1)), dict(lengths=(65535, 0)), dict(lengths=(2, 0)))
            records = (dict(region_=99), dict(offset=2 * MIB), dict(offset=2 * MIB - 8), dict(offset=4),
                       dict(offset=2**64 - 8), dict(keys=2**32 - 1), dict(segments=2**32 - 1), dict(keys=65537),
                       dict(key_bytes=2**32 - 1), dict(key_bytes=5000), dict(space_=1), dict(space_=2**32 - 1),
                       dict(views=2**32 - 1), dict(views=87_500))  # more than the region has room for
            position = 0
            for arguments, record in [(one, {}) for one in bad] + [({}, one) for one in records]:
                liar.arguments(**arguments)
                liar.submit(position, id_=position << 32, kind=PUT, **record)
                self.assertEqual(liar.status(position), INVALID, (arguments, record))
                position += 1
                liar.set_counter(256, position)

    def test_impossible_counters_and_forged_ids_end_the_connection(self):
        for lie in (dict(id_=1 << 32), dict(id_=8), dict(id_=2**64 - 1), dict(kind=5), dict(kind=255), dict(flags=32), dict(flags=128),
                    dict(zero=1), dict(zero2=1)):
            with Liar(self.daemon.socket) as liar:
                liar.arguments()
                liar.submit(0, **lie)
                self.assertTrue(liar.ended(), lie)
        for submitted, collected in ((9, 0), (2**31, 0), (1, 1), (1, 2**32 - 9)):
            with Liar(self.daemon.socket) as liar:
                liar.set_counter(256, collected)
                liar.set_counter(0, submitted)
                os.write(liar.bell, b"x")
                self.assertTrue(liar.ended(), (submitted, collected))

    def test_a_slot_in_flight_is_not_taken_again(self):
        with Liar(self.daemon.socket) as liar:
            liar.arguments()
            for position in range(2):  # both in one look of the daemon's, as likely as can be
                record = struct.pack("<QBBHIIIIIQQQQ", position << 32, FLUSH, 0, 0, 0, 0, 0, liar.regions[0][0], 0,
                                     4096, 0, 0, 0)
                liar.memory[4096 + position * 64:4096 + position * 64 + 64] = record
            liar.set_counter(0, 2)
            os.write(liar.bell, b"x")
            self.assertTrue(liar.ended())

    def test_whoever_takes_no_completion_only_stalls_itself(self):
        with Liar(self.daemon.socket) as liar:
            liar.arguments()
            for position in range(8):
                liar.submit(position, id_=position, kind=GET)
            liar.status(7)
            liar.submit(8, id_=1 << 32, kind=GET)
            self.assert_serves()
            self.assertEqual(struct.unpack("<I", liar.memory[64:68])[0], 8)  # not taken
            liar.set_counter(256, 8)
            os.write(liar.bell, b"x")
            liar.status(8)

    def test_noise_in_rings_regions_and_socket(self):
        seed = random.randrange(2**32)
        noise = random.Random(seed)
        for _ in range(60):
            with Liar(self.daemon.socket) as liar:
                for position in range(noise.randrange(1, 8)):
                    at = noise.randrange(0, 4096)
                    liar.regions[0][1][at:at + 64] = noise.randbytes(64)
                    lie = {}
                    for name, bits in (("keys", 17), ("segments", 20), ("key_bytes", 16), ("offset", 22)):
                        if noise.random() < 0.5:
                            lie[name] = noise.getrandbits(noise.randrange(1, bits + 1)) // 8 * 8
                    try:
                        liar.submit(position, id_=position, kind=noise.randrange(5),
                                    flags=noise.choice((0, LEASE)), views=noise.choice((0, 64, 87_500)), **lie)
                    except OSError:
                        break
                if noise.random() < 0.5:
                    try:
                        liar.socket.sendall(noise.randbytes(noise.randrange(1, 200)))
                    except OSError:
                        pass
        self.assertIsNone(self.daemon.process.poll(), f"seed {seed}")


if __name__ == "__main__":
    unittest.main()
