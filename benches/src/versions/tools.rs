//! The tools, each as a few lines of shell, so that what is compared can be read and tried.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// Longest run of one step, seconds.
const LIMIT: &str = "600";

/// A tool that keeps versions of a directory. The scripts find the directory in `$TREE`, the
/// version's name in `$TAG`, and what they keep it in in `$STORE`.
#[derive(Clone, Copy)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// How it is used: compression, and what makes it durable.
    pub how: &'static str,
    /// Most runs: the slow ones are run less often.
    pub runs: usize,
    /// Makes the store; not measured.
    init: &'static str,
    /// Takes the directory in, durably.
    commit: &'static str,
    /// Reads and checks everything; empty: it cannot.
    pub check: &'static str,
    /// Makes it as small as it gets; empty: it is already.
    pub shrink: &'static str,
}

/// Keg itself.
pub const KEG: Tool = Tool {
    name: "Keg",
    how: "raw, one syncfs",
    runs: usize::MAX,
    init: "",
    commit: r#"KEG_HOME=$STORE "$KEG" commit "$TREE" /tree"#,
    check: r#"KEG_HOME=$STORE "$KEG" fsck"#,
    shrink: "",
};

/// Those that it is compared with, from Debian.
pub const PEERS: [Tool; 5] = [
    Tool {
        name: "borg",
        how: "lz4, its own fsync of each segment",
        runs: 3,
        init: r#"borg init -e none "$STORE""#,
        commit: r#"cd "$TREE" && borg create -C lz4 "$STORE::$TAG" ."#,
        check: r#"borg check --verify-data "$STORE""#,
        shrink: "",
    },
    Tool {
        name: "casync",
        how: "zstd, its cache; it syncs nothing: sync -f after it",
        runs: 2,
        init: r#"mkdir "$STORE""#,
        commit: r#"cd "$STORE" && casync make --store=chunks.castr --cache=cache \
            "$TAG.caidx" "$TREE" >/dev/null && sync -f ."#,
        check: "",
        shrink: "",
    },
    Tool {
        name: "restic",
        how: "zstd, AES, its own fsync of each pack",
        runs: 2,
        init: r#"restic -q init -r "$STORE" --repository-version 2"#,
        commit: r#"restic -q -r "$STORE" backup "$TREE""#,
        check: r#"restic -q -r "$STORE" check --read-data"#,
        shrink: "",
    },
    Tool {
        name: "ostree",
        how: "bare, its own syncfs and fsync",
        runs: 1,
        init: r#"ostree init --repo="$STORE" --mode=bare"#,
        commit: r#"ostree commit --repo="$STORE" -b main --tree=dir="$TREE" >/dev/null"#,
        check: r#"ostree fsck -q --repo="$STORE""#,
        shrink: "",
    },
    Tool {
        name: "git",
        how: "zlib, core.fsync=all in batches",
        runs: 1,
        init: r#"git init -q --bare "$STORE""#,
        commit: r#"git --git-dir="$STORE" --work-tree="$TREE" add -A &&
            git --git-dir="$STORE" --work-tree="$TREE" commit -qm "$TAG""#,
        check: r#"git --git-dir="$STORE" fsck --full --no-progress"#,
        shrink: r#"git --git-dir="$STORE" gc -q"#,
    },
];

/// Runs `keg …` on a Keg, which must succeed, and gives what it prints.
///
/// # Panics
/// When it does not.
pub fn keg(home: &Path, args: &[&str]) -> String {
    let mut keg = Command::new(crate::kegs::binary());
    keg.args(args).env("KEG_HOME", home).env_remove("KEG_URL");
    let output = keg.output().expect("because it was built");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "keg {args:?}: {err}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A store of a tool, and the directory it is of.
pub struct Store<'a> {
    tool: Tool,
    /// Where.
    pub path: PathBuf,
    tree: &'a Path,
    place: &'a Path,
}

impl<'a> Store<'a> {
    /// A new one in a directory for all of them.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new(tool: Tool, place: &'a Path, name: &str, tree: &'a Path) -> Self {
        let store = Self { tool, path: place.join(name), tree, place };
        match tool.init {
            "" => drop(keg::Keg::create(&store.path).expect("a Keg")),
            init => drop(store.run(init, "init")),
        }
        store
    }

    /// Takes the directory in.
    pub fn commit(&self, tag: &str) -> Duration {
        self.run(self.tool.commit, tag)
    }

    /// Runs one of the tool's steps; that it ends well is part of it.
    ///
    /// # Panics
    /// When it does not.
    pub fn run(&self, script: &str, tag: &str) -> Duration {
        let mut shell = Command::new("timeout");
        shell.args([LIMIT, "sh", "-ec", script]).current_dir(self.place);
        shell.env("STORE", &self.path).env("TREE", self.tree).env("TAG", tag);
        shell.env("KEG", crate::kegs::binary()).env("HOME", self.place).env_remove("KEG_URL");
        // Nothing of the user's, nothing encrypted, nothing asked.
        shell.env("GIT_CONFIG_GLOBAL", self.place.join("gitconfig"));
        shell.env("GIT_CONFIG_NOSYSTEM", "1").env("RESTIC_PASSWORD", "measured");
        shell.env("BORG_BASE_DIR", self.place.join("borg"));
        shell.env("RESTIC_CACHE_DIR", self.place.join("restic"));
        shell.env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        for (count, (key, value)) in GIT.into_iter().enumerate() {
            shell.env(format!("GIT_CONFIG_KEY_{count}"), key);
            shell.env(format!("GIT_CONFIG_VALUE_{count}"), value);
        }
        shell.env("GIT_CONFIG_COUNT", GIT.len().to_string());
        let begun = Instant::now();
        let output = shell.output().expect("a shell");
        let took = begun.elapsed();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {script}: {err}", self.tool.name);
        took
    }
}

/// What git is told.
const GIT: [(&str, &str); 5] = [
    ("user.name", "Ada"),
    ("user.email", "ada@example.org"),
    ("core.fsync", "all"),
    ("core.fsyncMethod", "batch"),
    ("gc.auto", "0"),
];
