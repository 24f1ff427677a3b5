"""Pool files that are wrong."""

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
