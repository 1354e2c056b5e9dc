//! What a pack's `bin/build` says: `launch.toml`, `<layer>.toml` and the layers' environment
//! directories, as in Buildpack API 0.10.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Table;

use crate::procfile::is_process_type;

/// Longest `launch.toml` or `<layer>.toml` that is read, in bytes.
pub const MAX_TOML: u64 = 256 * 1024;
/// Longest value in a file of an environment directory, in bytes.
pub const MAX_ENV_VALUE: u64 = 64 * 1024;

/// `launch.toml`.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// Labels of the image.
    #[serde(default)]
    pub labels: Vec<Label>,
    /// Process types.
    #[serde(default)]
    pub processes: Vec<Process>,
    /// Parts of the app that would be layers of their own; the app is one layer here.
    #[serde(default)]
    pub slices: Vec<Table>,
}

/// A label of the image.
#[derive(Deserialize, Debug, Clone, PartialEq)]
pub struct Label {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// A process type.
#[derive(Deserialize, Debug, Clone, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// `web`, `worker`, …
    #[serde(rename = "type")]
    pub process: String,
    /// The program and the arguments it always gets.
    pub command: Vec<String>,
    /// More arguments, which a user may replace.
    #[serde(default)]
    pub args: Vec<String>,
    /// Whether this is the one a container starts by itself.
    #[serde(default)]
    pub default: bool,
    /// Where it starts, if not in the app's directory.
    #[serde(default, rename = "working-dir")]
    pub working_dir: Option<String>,
}

/// `<layer>.toml`.
#[derive(Deserialize, Debug, Default, Clone, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct LayerToml {
    /// What the layer is for.
    #[serde(default)]
    pub types: Types,
    /// The pack's own notes; `[metadata.keg] root = true` lays the layer over `/`.
    #[serde(default)]
    pub metadata: Table,
}

/// What a layer is for.
#[derive(Deserialize, Debug, Default, Clone, Copy, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Types {
    /// It is part of the image.
    pub launch: bool,
    /// Later packs need it.
    pub build: bool,
    /// It is kept for later builds on the same packages.
    pub cache: bool,
}

impl LayerToml {
    /// Whether the layer's content belongs at `/` rather than at its own directory: an addition of
    /// this platform, `[metadata.keg] root = true`.
    pub fn at_root(&self) -> bool {
        let keg = self.metadata.get("keg").and_then(|keg| keg.get("root"));
        keg.and_then(toml::Value::as_bool).unwrap_or(false)
    }
}

/// What is wrong with a pack's output.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Not TOML, or not of its form.
    #[error("the pack wrote a {file} that cannot be read")]
    Toml {
        /// Which file.
        file: String,
        /// Where and why.
        #[source]
        source: toml::de::Error,
    },
    /// A type that cannot be one.
    #[error(
        "the pack wrote the process type {0:?}: use 1 to 20 of a-z, 0-9 and -, starting with a \
         letter"
    )]
    Type(String),
    /// The same type twice.
    #[error("the pack wrote the process type {0:?} twice")]
    Twice(String),
    /// Nothing to run.
    #[error("the pack wrote no command for the process type {0:?}")]
    NoCommand(String),
    /// A directory of its own, which processes cannot have here.
    #[error("the pack gives {0:?} a working-dir; processes start in the app's directory here")]
    WorkingDir(String),
}

/// Reads `launch.toml`.
///
/// # Errors
/// It is not of its form, or a process in it cannot be one.
pub fn parse_launch(text: &str) -> Result<Launch, LaunchError> {
    let toml = |source| LaunchError::Toml { file: "launch.toml".to_owned(), source };
    let launch: Launch = toml::from_str(text).map_err(toml)?;
    for (index, process) in launch.processes.iter().enumerate() {
        let name = || process.process.clone();
        if !is_process_type(&process.process) {
            return Err(LaunchError::Type(name()));
        }
        if launch.processes[..index].iter().any(|other| other.process == process.process) {
            return Err(LaunchError::Twice(name()));
        }
        if process.command.first().is_none_or(String::is_empty) {
            return Err(LaunchError::NoCommand(name()));
        }
        if process.working_dir.is_some() {
            return Err(LaunchError::WorkingDir(name()));
        }
    }
    Ok(launch)
}

/// Reads `<layer>.toml`.
///
/// # Errors
/// It is not of its form.
pub fn parse_layer(layer: &str, text: &str) -> Result<LayerToml, LaunchError> {
    toml::from_str(text)
        .map_err(|source| LaunchError::Toml { file: format!("{layer}.toml"), source })
}

/// Environment variables by name.
pub type Env = BTreeMap<String, String>;

/// Applies the files of one environment directory (`env/`, `env.launch/`, `env.build/`), given as
/// name and content: `NAME`, `NAME.override`, `NAME.default`, `NAME.append`, `NAME.prepend`, with
/// `NAME.delim` between what is joined. Names that cannot be a variable's are left out.
pub fn apply_env(env: &mut Env, files: &BTreeMap<String, String>) {
    for (file, value) in files {
        let (name, action) = file.split_once('.').unwrap_or((file, "override"));
        if !is_variable(name) || value.contains('\0') {
            continue;
        }
        let delim = files.get(&format!("{name}.delim")).map_or("", String::as_str);
        let old = env.get(name).filter(|old| !old.is_empty());
        let new = match (action, old) {
            ("override", _) | ("append" | "prepend", None) => value.clone(),
            ("default", None) => value.clone(),
            ("append", Some(old)) => format!("{old}{delim}{value}"),
            ("prepend", Some(old)) => format!("{value}{delim}{old}"),
            _ => continue,
        };
        env.insert(name.to_owned(), new);
    }
}

/// Puts `dir` in front of a search path such as `PATH`.
pub fn prepend_path(env: &mut Env, name: &str, dir: &str) {
    let path = match env.get(name).filter(|old| !old.is_empty()) {
        Some(old) => format!("{dir}:{old}"),
        None => dir.to_owned(),
    };
    env.insert(name.to_owned(), path);
}

fn is_variable(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.bytes().all(good) && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launch_toml_of_api_0_10() {
        let launch = parse_launch(
            r#"
            [[labels]]
            key = "a"
            value = "b"
            [[processes]]
            type = "web"
            command = ["gunicorn", "app:app"]
            args = ["-w", "2"]
            default = true
            "#,
        )
        .expect("a launch.toml");
        assert_eq!(launch.labels, [Label { key: "a".into(), value: "b".into() }]);
        assert!(launch.processes[0].default);
        assert_eq!(launch.processes[0].args, ["-w", "2"]);
        for (text, want) in [
            ("[[processes]]\ntype = \"web\"\ncommand = \"x\"", "cannot be read"),
            ("[[processes]]\ntype = \"web\"\ncommand = [\"x\"]\ndirect = false", "cannot be read"),
            ("[[processes]]\ntype = \"Web\"\ncommand = [\"x\"]", "\"Web\""),
            ("[[processes]]\ntype = \"web\"\ncommand = []", "no command"),
            ("[[processes]]\ntype = \"a\"\ncommand = [\"x\"]\nworking-dir = \"/\"", "working-dir"),
            ("processes = [{type='a', command=['x']}, {type='a', command=['y']}]", "twice"),
        ] {
            let error = parse_launch(text).expect_err(text).to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn layers_may_lie_over_the_root() {
        let toml =
            parse_layer("w", "[types]\nlaunch = true\ncache = true\n[metadata.keg]\nroot = true")
                .expect("a layer's TOML");
        assert!(toml.at_root() && toml.types.launch && toml.types.cache && !toml.types.build);
        let plain = parse_layer("w", "[metadata]\nversion = 2").expect("a layer's TOML");
        assert!(!plain.at_root() && plain.types == Types::default());
        assert!(parse_layer("w", "launch = true").is_err());
    }

    #[test]
    fn environment_directories() {
        let check = |old: &[(&str, &str)], files: &[(&str, &str)], want: &[(&str, &str)]| {
            let map = |pairs: &[(&str, &str)]| -> Env {
                pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
            };
            let mut env = map(old);
            apply_env(&mut env, &map(files));
            assert_eq!(env, map(want), "{files:?}");
        };
        check(&[], &[("A", "1"), ("B.default", "2")], &[("A", "1"), ("B", "2")]);
        check(
            &[("A", "0"), ("B", "0")],
            &[("A", "1"), ("B.default", "2")],
            &[("A", "1"), ("B", "0")],
        );
        check(&[("P", "a")], &[("P.append", "b"), ("P.delim", ":")], &[("P", "a:b")]);
        check(&[("P", "a")], &[("P.prepend", "b"), ("P.delim", ":")], &[("P", "b:a")]);
        check(&[], &[("P.prepend", "b"), ("P.delim", ":")], &[("P", "b")]);
        check(&[], &[("A-B", "1"), ("1A", "1"), ("A.what", "1"), ("A", "x\0")], &[]);
        let mut env = Env::new();
        prepend_path(&mut env, "PATH", "/b");
        prepend_path(&mut env, "PATH", "/a");
        assert_eq!(env["PATH"], "/a:/b");
    }
}
