//! From a project's files to one wheel per version, or the reason why there is none.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use crate::pypi::{
    project::{Project, WheelFile},
    tags::{Fit, WheelName},
    target::Target,
    version::{Specifiers, Version, parse_version},
};

/// Most tags of unusable wheels that a reason lists.
const MAX_TAGS: usize = 4;

/// A version that can be chosen.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The version.
    pub version: Version,
    /// The wheel that fits best.
    pub wheel: WheelFile,
}

/// A project's versions for a target, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    /// Those with a wheel.
    pub usable: Vec<Candidate>,
    /// Those without, and why.
    pub refused: Vec<(Version, String)>,
}

impl Candidates {
    /// Sorts a project's files by whether they can be used; with `hashes`, only files that have
    /// one of them can.
    pub fn of(project: &Project, target: &Target, hashes: Option<&BTreeSet<String>>) -> Self {
        let mut versions: BTreeMap<Version, Vec<(WheelName, &WheelFile)>> = BTreeMap::new();
        for text in &project.sources {
            if let Some(version) = parse_version(text) {
                versions.entry(version).or_default();
            }
        }
        for file in &project.wheels {
            if let Some(name) = WheelName::parse(&file.file) {
                versions.entry(name.version.clone()).or_default().push((name, file));
            }
        }
        let mut all = Self::default();
        for (version, files) in versions {
            match choose(&files, target, hashes) {
                Ok(wheel) => all.usable.push(Candidate { version, wheel: wheel.clone() }),
                Err(reason) => all.refused.push((version, reason)),
            }
        }
        all
    }

    /// Whether there are only pre-releases, so that they are taken.
    pub fn only_prereleases(&self) -> bool {
        self.usable.iter().all(|candidate| candidate.version.any_prerelease())
    }
}

/// The wheel that fits best, one that was not withdrawn if possible.
fn choose<'a>(
    files: &[(WheelName, &'a WheelFile)],
    target: &Target,
    hashes: Option<&BTreeSet<String>>,
) -> Result<&'a WheelFile, String> {
    type Rank<'b> = (bool, Fit, Reverse<&'b (u64, String)>);
    let mut best: Option<(Rank<'_>, &WheelFile)> = None;
    let mut reason = None;
    for (name, file) in files {
        let Some(fit) = name.fit(target) else { continue };
        if let Some(why) = refusal(file, target, hashes) {
            reason = Some(why);
            continue;
        }
        let rank = (file.yanked.is_some(), fit, Reverse(&name.build));
        if best.as_ref().is_none_or(|(found, _)| rank < *found) {
            best = Some((rank, file));
        }
    }
    match best {
        Some((_, file)) => Ok(file),
        None => Err(reason.unwrap_or_else(|| no_wheel(files, target))),
    }
}

/// Why a wheel that would run is not taken.
fn refusal(file: &WheelFile, target: &Target, hashes: Option<&BTreeSet<String>>) -> Option<String> {
    let Some(sha256) = &file.sha256 else {
        return Some("the index gives no SHA-256 for it".into());
    };
    if hashes.is_some_and(|hashes| !hashes.contains(sha256)) {
        return Some("none of its wheels for this machine has one of the listed hashes".into());
    }
    let needs = file.requires_python.as_deref()?;
    // A field that cannot be read says nothing.
    let specifiers = Specifiers::parse(needs).ok()?;
    let runs = specifiers.contains(target.python_full());
    (!runs).then(|| format!("it needs Python {needs}, and this is {}", target.python()))
}

fn no_wheel(files: &[(WheelName, &WheelFile)], target: &Target) -> String {
    let python = target.python();
    if files.is_empty() {
        return format!(
            "it has no wheel, only a source archive, which would have to be built for Python \
             {python}"
        );
    }
    let mut tags: Vec<String> = files.iter().map(|(name, _)| name.tag_text()).collect();
    let more = tags.len().saturating_sub(MAX_TAGS);
    tags.truncate(MAX_TAGS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("it has no wheel for Python {python} on this machine: {}{more}", tags.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wheel(file: &str) -> WheelFile {
        WheelFile {
            file: file.to_owned(),
            url: format!("http://127.0.0.1/{file}"),
            sha256: Some("a".repeat(64)),
            size: None,
            requires_python: None,
            uploaded: None,
            yanked: None,
            metadata: None,
        }
    }

    fn candidates(wheels: Vec<WheelFile>, hashes: Option<&BTreeSet<String>>) -> Candidates {
        let project = Project {
            name: "a".into(),
            as_of: String::new(),
            as_of_ms: 0,
            wheels,
            sources: vec!["0.1".into(), "1.0".into()],
        };
        let target = Target::new("trixie", "3.13", "x86_64").expect("a known target");
        Candidates::of(&project, &target, hashes)
    }

    #[test]
    fn the_best_wheel_of_each_version_is_chosen() {
        let yanked = WheelFile {
            yanked: Some("bad".into()),
            ..wheel("a-2-cp313-cp313-manylinux_2_17_x86_64.whl")
        };
        let all = candidates(
            vec![
                wheel("a-1.0-py3-none-any.whl"),
                wheel("a-1.0-cp313-cp313-manylinux_2_17_x86_64.whl"),
                wheel("a-1.0-cp313-cp313-win_amd64.whl"),
                yanked,
                wheel("a-2-1-py3-none-any.whl"),
                wheel("a-2-2-py3-none-any.whl"),
            ],
            None,
        );
        let files: Vec<&str> = all.usable.iter().map(|c| c.wheel.file.as_str()).collect();
        assert_eq!(
            files,
            ["a-1.0-cp313-cp313-manylinux_2_17_x86_64.whl", "a-2-2-py3-none-any.whl"]
        );
        assert_eq!(all.refused.len(), 1, "0.1 has only sources");
    }

    #[test]
    fn versions_without_a_wheel_say_why() {
        let other = BTreeSet::from(["b".repeat(64)]);
        let any = "a-1.0-py3-none-any.whl";
        let unhashed = WheelFile { sha256: None, ..wheel(any) };
        let newer = WheelFile { requires_python: Some(">=3.14".into()), ..wheel(any) };
        for (file, hashes, want) in [
            (wheel("a-1.0-cp312-cp312-win_amd64.whl"), None, "no wheel for Python 3.13"),
            (unhashed, None, "no SHA-256"),
            (newer, None, "needs Python >=3.14, and this is 3.13"),
            (wheel(any), Some(&other), "listed hashes"),
        ] {
            let all = candidates(vec![file], hashes);
            let reason = &all.refused.iter().find(|(v, _)| v.to_string() == "1.0").expect("1.0").1;
            assert!(all.usable.is_empty() && reason.contains(want), "{reason}");
        }
        let sources = candidates(Vec::new(), None);
        assert!(sources.refused[0].1.contains("only a source archive"));
    }
}
