"""Pool files that are wrong."""

import os

from harness import CliTest, main


class Config(CliTest):
    def refuse_config(self, text, words, lines=1):
        file = self.write("pool.toml", text)
        for command in ("create", "info", "check"):
            with self.subTest(command):
                self.refuse(command, "--pool", file, code=2, words=words, lines=lines)

    def test_a_missing_file(self):
        self.refuse("info", "--pool", self.path("absent.toml"), code=2, words=["absent.toml"])

    def test_text_that_is_not_toml(self):
        self.refuse_config("[[", ["pool.toml"])

    def test_another_version(self):
        self.refuse_config("[pool]\nversion = 7\n" + self.device("a"), ["version 7"])

    def test_an_unknown_key_gets_a_suggestion(self):
        self.refuse_config("[pool]\nversion = 1\n" + self.device("a", extra="capasity = 1\n"),
                           ["capasity", "capacity"])

    def test_a_rate_that_no_device_has(self):
        text = "[pool]\nversion = 1\n" + self.device("a")
        self.refuse_config(text.replace('"800MB/s"', "1e308"), ["read_bandwidth is 1e+308"])

    def test_a_script_of_faults_is_read_before_anything_is_made(self):
        pool = self.pool_file(self.device("a"), self.device("b", extra='faults = "read.eror"\n'))
        self.refuse("create", "--pool", pool, code=2, words=['device "b"', "eror"])
        self.assertEqual(os.listdir(self.dir), ["pool.toml"])

    def test_a_pool_file_that_names_itself(self):
        pool = self.pool_file(self.device("a"), catalog="pool.toml")
        os.symlink(pool, self.path("link.toml"))
        for file in (pool, self.path("link.toml")):
            for command in (("create",), ("info",), ("check", "--repair", "--yes")):
                self.refuse(*command, "--pool", file, code=2, words=["itself", "catalog"])
        self.assertFalse(os.path.exists(self.path("a")))
        pool = self.pool_file(self.device("a", path=self.path("pool.toml")))
        self.refuse("create", "--pool", pool, code=2, words=["itself", "the device a"])

    def test_what_is_no_regular_file(self):
        os.mkfifo(self.path("fifo"))
        for file in (self.path("fifo"), "/dev/zero"):
            self.refuse("info", "--pool", file, code=2, words=["not a regular file"], timeout=20)

    def test_all_mistakes_are_listed(self):
        text = ('[pool]\nversion = 1\nunit = "100KiB"\nnmae = "x"\n'
                '[[device]]\nname = "a"\nkind = "flie"\nread_bandwidth = 0\n')
        file = self.write("pool.toml", text)
        done = self.run_kvpool("info", "--pool", file)
        self.assertEqual(done.returncode, 2)
        for word in ("unit", "nmae", "kind must be", "read_bandwidth", "write_bandwidth", "path"):
            self.assertIn(word, done.stderr)


if __name__ == "__main__":
    main()
