//! What an index says about one project: its files (PEP 691 JSON, or PEP 503 HTML).

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use url::Url;

use super::{
    html,
    name::PackageName,
    requirements::is_sha256,
    tags::WheelName,
    version::{MAX_VERSION_TEXT, Version, parse_version},
};

/// Largest project page taken; the largest real ones have about 30 MB.
pub const MAX_PROJECT: u64 = 64 * 1024 * 1024;
/// Most files of one project.
pub const MAX_FILES: usize = 200_000;
/// What is asked for, best first.
pub const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, \
    application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";

/// A project as an index described it at one time: its wheels, and which versions have sources.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Project {
    /// The normalised name.
    pub name: String,
    /// When it was fetched (RFC 3339).
    pub as_of: String,
    /// The same in milliseconds since 1970.
    pub as_of_ms: i64,
    /// The wheels.
    pub wheels: Vec<WheelFile>,
    /// Versions with a source archive, as written.
    pub sources: Vec<String>,
}

/// One wheel that an index offers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WheelFile {
    /// Its file name.
    pub file: String,
    /// Where it is, without a password.
    pub url: String,
    /// Its hash; one without is never taken.
    pub sha256: Option<String>,
    /// Bytes, if the index says so.
    pub size: Option<u64>,
    /// Pythons it says it runs on, as written.
    pub requires_python: Option<String>,
    /// When it was uploaded (RFC 3339), if the index says so.
    pub uploaded: Option<String>,
    /// Why it was withdrawn; empty if no reason was given.
    pub yanked: Option<String>,
    /// SHA-256 of the metadata file beside it (PEP 658), if there is one.
    pub metadata: Option<String>,
}

/// Why an index's page is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// Neither JSON nor HTML as specified.
    #[error("the index's page about {name} cannot be read: {reason}")]
    Format {
        /// The project.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

impl Project {
    /// Reads a page that came from `base`.
    ///
    /// # Errors
    /// It is not what PEP 691 or PEP 503 describe, or too long.
    pub fn read(name: &PackageName, bytes: &[u8], base: &Url) -> Result<Self, ProjectError> {
        let fail = |reason: &str| ProjectError::Format {
            name: name.to_string(),
            reason: reason.to_owned(),
        };
        let start = bytes.iter().find(|b| !b.is_ascii_whitespace());
        let links = match start {
            Some(b'{') => json_links(bytes).map_err(|reason| fail(&reason))?,
            Some(b'<') => html::links(bytes).map_err(|reason| fail(&reason))?,
            _ => return Err(fail("it is neither JSON (PEP 691) nor HTML (PEP 503)")),
        };
        if links.len() > MAX_FILES {
            return Err(fail("it lists too many files"));
        }
        let as_of_ms = keg::time::now_ms();
        let mut project = Self {
            name: name.to_string(),
            as_of: keg::time::rfc3339(as_of_ms),
            as_of_ms,
            wheels: Vec::new(),
            sources: Vec::new(),
        };
        for link in links {
            project.add(name, link, base);
        }
        project.sources.sort();
        project.sources.dedup();
        Ok(project)
    }

    /// Adds a wheel or source archive of this project; other files mean nothing here.
    fn add(&mut self, name: &PackageName, mut link: WheelFile, base: &Url) {
        if let Some(version) = source_version(name, &link.file) {
            self.sources.push(version.to_string());
            return;
        }
        if WheelName::parse(&link.file).is_none_or(|wheel| wheel.name != *name) {
            return;
        }
        let Ok(mut url) = base.join(&link.url) else { return };
        if !matches!(url.scheme(), "http" | "https") {
            return;
        }
        url.set_fragment(None);
        // An address that can carry a host can carry these, so clearing them cannot fail.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        link.url = url.into();
        self.wheels.push(link);
    }
}

/// The version of `flask-3.1.0.tar.gz` or `.zip`.
fn source_version(name: &PackageName, file: &str) -> Option<Version> {
    let stem = file.strip_suffix(".tar.gz").or_else(|| file.strip_suffix(".zip"))?;
    let (project, version) = stem.rsplit_once('-')?;
    if PackageName::new(project).ok()? != *name || version.len() > MAX_VERSION_TEXT {
        return None;
    }
    parse_version(version)
}

/// PEP 691 and its additions (PEP 592, 658, 700, 714).
fn json_links(bytes: &[u8]) -> Result<Vec<WheelFile>, String> {
    let page: Json = serde_json::from_slice(bytes).map_err(|error| format!("bad JSON: {error}"))?;
    let version = page["meta"]["api-version"].as_str().unwrap_or("1.0");
    if !version.starts_with("1.") {
        return Err(format!("its format {version} is newer than this program knows"));
    }
    let files = page["files"].as_array().ok_or("it has no list of files")?;
    if files.len() > MAX_FILES {
        return Err("it lists too many files".into());
    }
    Ok(files.iter().filter_map(json_link).collect())
}

fn json_link(file: &Json) -> Option<WheelFile> {
    let text = |name: &str| file[name].as_str().map(str::to_owned);
    let digest = |hashes: &Json| {
        let digest = hashes["sha256"].as_str().filter(|digest| is_sha256(digest));
        digest.map(str::to_ascii_lowercase)
    };
    let yanked = match &file["yanked"] {
        Json::Bool(true) => Some(String::new()),
        Json::String(reason) => Some(reason.clone()),
        _ => None,
    };
    // PEP 714 renamed the field; the old name is read where the new one is missing.
    let metadata = digest(&file["core-metadata"]).or_else(|| digest(&file["dist-info-metadata"]));
    Some(WheelFile {
        file: text("filename")?,
        url: text("url")?,
        sha256: digest(&file["hashes"]),
        size: file["size"].as_u64(),
        requires_python: text("requires-python"),
        uploaded: text("upload-time"),
        yanked,
        metadata,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Project, ProjectError> {
        let base = Url::parse("https://user:secret@index.example/simple/flask/").expect("good");
        Project::read(&PackageName::new("flask").expect("good"), bytes, &base)
    }

    #[test]
    fn json_pages_are_read() {
        let digest = "A".repeat(64);
        let page = json!({"meta": {"api-version": "1.3"}, "name": "flask", "files": [
            {"filename": "Flask-1.0.tar.gz", "url": "x", "hashes": {}},
            {"filename": "flask-1.0-py3-none-any.whl", "url": "../../f/flask.whl#sha256=x",
             "hashes": {"sha256": digest}, "size": 9, "requires-python": ">=3.8",
             "yanked": "broken", "core-metadata": {"sha256": digest}},
            {"filename": "other-1.0-py3-none-any.whl", "url": "x", "hashes": {}},
            {"filename": "flask-2-py3-none-any.whl", "url": "file:///etc/passwd", "hashes": {}},
            {"filename": "flask-1.0.exe", "url": "x"}]});
        let project = read(page.to_string().as_bytes()).expect("good");
        assert_eq!(project.sources, ["1.0"]);
        let [wheel] = project.wheels.as_slice() else { panic!("{:?}", project.wheels) };
        assert_eq!(wheel.url, "https://index.example/f/flask.whl", "no password");
        assert_eq!(wheel.sha256.as_deref(), Some("a".repeat(64).as_str()));
        assert_eq!(wheel.yanked.as_deref(), Some("broken"));
        assert_eq!(wheel.metadata, wheel.sha256);
        assert_eq!((wheel.size, wheel.requires_python.as_deref()), (Some(9), Some(">=3.8")));
    }

    #[test]
    fn html_pages_are_read() {
        let digest = "b".repeat(64);
        let page = format!(
            "<!DOCTYPE html><html><body><!-- <a href='c.whl'>flask-9-py3-none-any.whl</a> -->\
             <a href=\"/f/flask-1.0-py3-none-any.whl#sha256={digest}\" data-requires-python=\
             \"&gt;=3.8\" data-yanked data-core-metadata=\"sha256={digest}\" >flask-1.0</a>"
        );
        let project = read(page.as_bytes()).expect("good");
        let [wheel] = project.wheels.as_slice() else { panic!("{:?}", project.wheels) };
        assert_eq!(wheel.file, "flask-1.0-py3-none-any.whl");
        assert_eq!(wheel.sha256.as_deref(), Some(digest.as_str()));
        assert_eq!(wheel.metadata.as_deref(), Some(digest.as_str()));
        assert_eq!(wheel.requires_python.as_deref(), Some(">=3.8"));
        assert_eq!(wheel.yanked.as_deref(), Some(""));
    }

    #[test]
    fn bad_pages_say_why() {
        for (page, want) in [
            ("", "neither JSON"),
            ("hello", "neither JSON"),
            ("{", "bad JSON"),
            ("{\"meta\": {\"api-version\": \"2.0\"}, \"files\": []}", "newer"),
            ("{}", "no list of files"),
            ("<html>\u{0}\u{1}", ""),
        ] {
            match read(page.as_bytes()) {
                Ok(project) => assert!(want.is_empty() && project.wheels.is_empty(), "{page}"),
                Err(error) => assert!(error.to_string().contains(want), "{page}: {error}"),
            }
        }
    }
}
