//! A directory with files, an environment and flags, all of the test's own.

use std::path::Path;

use bytecave_config::{Flag, Inputs, Loaded, Problems, load};
use tempfile::TempDir;

pub(crate) struct World {
    dir: TempDir,
    inputs: Inputs,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let inputs = Inputs {
            working_dir: Some(dir.path().to_owned()),
            ..Inputs::default()
        };
        Self { dir, inputs }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn toml(self, text: &str) -> Self {
        self.file("bytecave.toml", text)
    }

    pub(crate) fn dotenv(self, text: &str) -> Self {
        self.file(".env", text)
    }

    pub(crate) fn var(mut self, name: &str, value: &str) -> Self {
        self.inputs.environment.insert(name.into(), value.into());
        self
    }

    pub(crate) fn flag(mut self, name: &str, key: &str, value: &str) -> Self {
        self.inputs.flags.push(Flag {
            name: name.into(),
            key: key.into(),
            value: value.into(),
        });
        self
    }

    pub(crate) fn inputs(&mut self) -> &mut Inputs {
        &mut self.inputs
    }

    pub(crate) fn load(&self) -> Result<Loaded, Problems> {
        load(&self.inputs)
    }

    pub(crate) fn loaded(&self) -> Loaded {
        self.load().unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// The one message, and how many problems it lists.
    pub(crate) fn refusal(&self) -> (String, usize) {
        let problems = self.load().expect_err("refused");
        (problems.to_string(), problems.iter().count())
    }

    /// Asserts that exactly one problem is found and that its message has all of `parts`.
    pub(crate) fn refused_with(&self, parts: &[&str]) {
        let (message, count) = self.refusal();
        assert_eq!(count, 1, "{message}");
        for part in parts {
            assert!(message.contains(part), "no {part:?} in: {message}");
        }
    }
}
