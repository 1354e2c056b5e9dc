//! A release, read from the Keg: what to run, from which image, made from which source.

use std::collections::BTreeMap;

use keg::object::{Value, canonical_json};
use keg::store::StoreError;
use keg::{Keg, Kid};
use serde_json::{Value as Json, json};

use crate::config::AppConfig;
use crate::problem::Problem;

/// Most process types of a release.
const MAX_TYPES: usize = 64;
/// Most words of one command.
const MAX_WORDS: usize = 4096;

/// Everything needed to run a release.
#[derive(Clone, Debug)]
pub struct Release {
    /// The commit.
    pub kid: Kid,
    /// What makes two releases the same to run: image, processes and configuration but for scale.
    pub run: Kid,
    /// The image tree.
    pub image: Kid,
    /// The root to mount.
    pub rootfs: Kid,
    /// The source commit, if the release names one.
    pub source: Option<Json>,
    /// The build's key, if the release names one.
    pub build: Option<Json>,
    /// Who wrote the source.
    pub author: Option<String>,
    /// The KID of that person's document.
    pub user: Option<String>,
    /// The environment of the image.
    pub env: Vec<(String, String)>,
    /// The working directory of the image.
    pub workdir: String,
    /// The command of every process type.
    pub processes: BTreeMap<String, Vec<String>>,
    /// How to run it.
    pub config: AppConfig,
}

impl Release {
    /// Reads the release `kid`.
    pub fn load(keg: &Keg, kid: &Kid) -> Result<Release, Problem> {
        let objects = keg.objects();
        let commit = objects.commit(kid).map_err(|e| unreadable(kid, &e))?;
        let document = |path: &str| -> Result<Json, Problem> {
            let entry = objects.walk(&commit.tree, path).map_err(|e| unreadable(kid, &e))?;
            let Some(Value::File { kid: blob, .. }) = entry.map(|e| e.value) else {
                return Ok(Json::Null);
            };
            let bytes = objects.blob(&blob).map_err(|e| unreadable(kid, &e))?;
            serde_json::from_slice(&bytes).map_err(|e| broken(kid, &format!("{path}: {e}")))
        };
        let directory = |path: &str| -> Result<Kid, Problem> {
            let entry = objects.walk(&commit.tree, path).map_err(|e| unreadable(kid, &e))?;
            match entry.map(|e| e.value) {
                Some(Value::Tree { kid, .. }) => Ok(kid),
                _ => Err(broken(kid, &format!("{path} is missing"))),
            }
        };
        let image = directory("image")?;
        let rootfs = directory("image/rootfs")?;
        let image_config = document("image/config.json")?;
        let processes_document = document("processes.json")?;
        let config_document = document("config.json")?;
        let source = document("source.json")?;
        let config = AppConfig::parse(&config_document).map_err(|rule| Problem {
            message: format!("the configuration cannot be used: {rule}"),
            hint: "correct it in /apps/<app>/config.json".into(),
        })?;
        Ok(Release {
            kid: *kid,
            run: run_key(&image, &processes_document, config_document),
            image,
            rootfs,
            source: commit.extra.get("source").cloned(),
            build: commit.extra.get("build").cloned(),
            author: source["author"].as_str().map(str::to_owned),
            user: source["user"].as_str().map(str::to_owned),
            env: environment(&image_config["config"]["Env"]),
            workdir: workdir(&image_config["config"]["WorkingDir"]),
            processes: processes(kid, &processes_document)?,
            config,
        })
    }

    /// How many processes of each type there are to be, with the scale of `config`.
    pub fn scale(&self, config: &AppConfig) -> BTreeMap<String, u32> {
        let kinds = self.processes.keys();
        kinds.map(|kind| (kind.clone(), config.count(kind))).filter(|(_, n)| *n > 0).collect()
    }
}

fn unreadable(kid: &Kid, error: &StoreError) -> Problem {
    Problem {
        message: format!("the release {} cannot be read: {error}", kid.short()),
        hint: "`keg fsck` tells what is damaged; pushing again makes a new release".into(),
    }
}

fn broken(kid: &Kid, what: &str) -> Problem {
    Problem {
        message: format!("{} is not a whole release: {what}", kid.short()),
        hint: "push again, or `keg rollback` to an earlier release".into(),
    }
}

fn run_key(image: &Kid, processes: &Json, mut config: Json) -> Kid {
    if let Some(fields) = config.as_object_mut() {
        fields.shift_remove("scale");
    }
    let all = json!({ "image": image, "processes": processes, "config": config });
    Kid::of_blob(canonical_json(&all).as_bytes())
}

fn environment(list: &Json) -> Vec<(String, String)> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .filter_map(|entry| entry.as_str()?.split_once('='))
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn workdir(value: &Json) -> String {
    let dir = value.as_str().unwrap_or("/");
    if dir.starts_with('/') { dir.to_owned() } else { format!("/{dir}") }
}

fn processes(kid: &Kid, document: &Json) -> Result<BTreeMap<String, Vec<String>>, Problem> {
    let Some(types) = document.as_object().filter(|types| !types.is_empty()) else {
        return Err(Problem {
            message: "the release has no process to run".into(),
            hint: "say how to start the app, e.g. with `web: COMMAND` in a Procfile".into(),
        });
    };
    if types.len() > MAX_TYPES {
        return Err(broken(kid, &format!("{} process types, at most {MAX_TYPES}", types.len())));
    }
    let wrong = |kind: &str| broken(kid, &format!("processes.json: {kind} has no command"));
    let mut processes = BTreeMap::new();
    for (kind, process) in types {
        let command = match &process["command"] {
            Json::String(line) => vec!["/bin/sh".into(), "-c".into(), line.clone()],
            Json::Array(words) if (1..=MAX_WORDS).contains(&words.len()) => words
                .iter()
                .map(|word| word.as_str().map(str::to_owned))
                .collect::<Option<Vec<String>>>()
                .ok_or_else(|| wrong(kind))?,
            _ => return Err(wrong(kind)),
        };
        processes.insert(kind.clone(), command);
    }
    Ok(processes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_alone_is_no_reason_to_run_anew() {
        let image = Kid::of_blob(b"image");
        let processes = json!({"web": {"command": ["x"]}});
        let key = |config: Json| run_key(&image, &processes, config);
        let base = key(json!({"env": {"A": "1"}, "scale": {"web": 1}}));
        assert_eq!(base, key(json!({"scale": {"web": 5}, "env": {"A": "1"}})));
        assert_ne!(base, key(json!({"env": {"A": "2"}})));
        assert_ne!(base, run_key(&Kid::of_blob(b"other"), &processes, json!({"env": {"A": "1"}})));
    }

    #[test]
    fn commands_are_words_or_a_line_for_the_shell() {
        let kid = Kid::of_blob(b"x");
        let good =
            json!({"web": {"command": ["a", "b c"]}, "w": {"command": "a | b", "shell": true}});
        let found = processes(&kid, &good).unwrap();
        assert_eq!(found["web"], ["a", "b c"]);
        assert_eq!(found["w"], ["/bin/sh", "-c", "a | b"]);
        for bad in [json!(null), json!({}), json!({"web": {}}), json!({"web": {"command": [1]}})] {
            assert!(processes(&kid, &bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn image_environment_is_split_at_the_first_sign() {
        let list = json!(["A=1", "B=x=y", "broken", "=z", 4]);
        assert_eq!(environment(&list), [("A".into(), "1".into()), ("B".into(), "x=y".into())]);
        assert_eq!(environment(&json!(null)), []);
        assert_eq!(workdir(&json!("app")), "/app");
        assert_eq!(workdir(&json!(null)), "/");
    }
}
