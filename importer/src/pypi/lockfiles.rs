//! Other files that say what an app needs, as requirements: `uv.lock`, `poetry.lock`, and the
//! dependencies of a `pyproject.toml`. They are told from a `requirements.txt` by a table that no
//! such file can have.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use toml::{Table, Value};

use super::{
    name::PackageName, requirement::Requirement, requirements::is_sha256, target::Target,
    version::Specifiers,
};

/// Most packages that are looked at in one lock file.
const MAX_PACKAGES: usize = 5_000;

/// A lock file's text as the text of a `requirements.txt` for `target`; `None` if it is one
/// already.
///
/// # Errors
/// What cannot be taken from it, and why.
pub fn as_requirements(text: &str, target: &Target) -> Result<Option<String>, String> {
    let has = |table: &str| text.lines().any(|line| line.trim_end() == table);
    if !has("[[package]]") && !has("[project]") && !has("[tool.poetry]") {
        return Ok(None);
    }
    let document: Table = text
        .parse()
        .map_err(|error: toml::de::Error| format!("it is no proper TOML: {}", error.message()))?;
    let lines = match document.get("package") {
        Some(Value::Array(packages)) if packages.len() > MAX_PACKAGES => {
            return Err(format!("it has more than {MAX_PACKAGES} packages"));
        }
        Some(Value::Array(packages)) => {
            let packages: Vec<&Table> = packages.iter().filter_map(Value::as_table).collect();
            match document.get("metadata") {
                Some(metadata) => poetry(&packages, metadata, target)?,
                None => uv(&packages, target)?,
            }
        }
        _ => pyproject(&document)?,
    };
    Ok(Some(lines))
}

/// PEP 621.
fn pyproject(document: &Table) -> Result<String, String> {
    let Some(project) = document.get("project").and_then(Value::as_table) else {
        return Err("pyproject.toml has no [project] table; commit poetry.lock as well".into());
    };
    let is_dynamic = |value: &Value| strings(value).any(|name| name == "dependencies");
    if project.get("dynamic").is_some_and(is_dynamic) {
        return Err("pyproject.toml leaves its dependencies to a program (dynamic)".into());
    }
    let mut out = String::new();
    for line in project.get("dependencies").into_iter().flat_map(strings) {
        if line.contains('\n') || line.starts_with('-') {
            return Err(format!("pyproject.toml asks for {line:?}, which is no requirement"));
        }
        out.push_str(line);
        out.push('\n');
    }
    Ok(out)
}

/// What the locked project itself needs, through what that needs.
fn uv(packages: &[&Table], target: &Target) -> Result<String, String> {
    let is_root = |package: &&&Table| {
        let source = package.get("source").and_then(Value::as_table);
        let here = |key: &str| {
            let path = source.and_then(|source| source.get(key)).and_then(Value::as_str);
            path == Some(".")
        };
        here("virtual") || here("editable")
    };
    let root = packages.iter().find(is_root).ok_or("uv.lock does not say what the app is")?;
    let mut walk = UvWalk { packages, target, seen: BTreeSet::new(), chosen: BTreeMap::new() };
    walk.dependencies(root.get("dependencies"))?;
    let mut out = String::new();
    for (name, package) in walk.chosen {
        let version = text(package, "version").unwrap_or_default();
        let source = package.get("source").and_then(Value::as_table);
        if !source.is_some_and(|source| source.contains_key("registry")) {
            return Err(format!("uv.lock takes {name} from elsewhere than an index"));
        }
        let wheels = package.get("wheels").and_then(Value::as_array);
        let hashes = wheels.into_iter().flatten().filter_map(Value::as_table);
        line(&mut out, &name, version, "", hashes.filter_map(|wheel| text(wheel, "hash")))?;
    }
    Ok(out)
}

struct UvWalk<'a> {
    packages: &'a [&'a Table],
    target: &'a Target,
    /// Packages with the extra that was walked.
    seen: BTreeSet<(String, String)>,
    chosen: BTreeMap<String, &'a Table>,
}

impl<'a> UvWalk<'a> {
    fn dependencies(&mut self, list: Option<&'a Value>) -> Result<(), String> {
        let mut waiting: Vec<&Value> = list.into_iter().collect();
        while let Some(list) = waiting.pop() {
            let items = list.as_array().into_iter().flatten().filter_map(Value::as_table);
            for dependency in items {
                self.dependency(dependency, &mut waiting)?;
            }
        }
        Ok(())
    }

    fn dependency(
        &mut self,
        dependency: &Table,
        waiting: &mut Vec<&'a Value>,
    ) -> Result<(), String> {
        let name = text(dependency, "name").ok_or("uv.lock has a dependency without a name")?;
        if let Some(marker) = text(dependency, "marker")
            && !applies(name, marker, self.target)?
        {
            return Ok(());
        }
        let version = text(dependency, "version");
        let fits = |package: &&&Table| {
            text(package, "name") == Some(name)
                && version.is_none_or(|version| text(package, "version") == Some(version))
        };
        let packages: &'a [&'a Table] = self.packages;
        let package = *packages.iter().find(fits).ok_or_else(|| format!("uv.lock lacks {name}"))?;
        self.chosen.insert(name.to_owned(), package);
        if self.seen.insert((name.to_owned(), String::new())) {
            waiting.extend(package.get("dependencies"));
        }
        for extra in dependency.get("extra").into_iter().flat_map(strings) {
            let optional = package.get("optional-dependencies").and_then(Value::as_table);
            if self.seen.insert((name.to_owned(), extra.to_owned())) {
                waiting.extend(optional.and_then(|optional| optional.get(extra)));
            }
        }
        Ok(())
    }
}

/// The packages of the main group.
fn poetry(packages: &[&Table], metadata: &Value, target: &Target) -> Result<String, String> {
    let format = metadata.get("lock-version").and_then(Value::as_str).unwrap_or_default();
    if !format.starts_with("1.") && !format.starts_with("2.") {
        return Err(format!(
            "poetry.lock has the format {format:?}, and only 1.x and 2.x are known"
        ));
    }
    let mut out = String::new();
    for package in packages {
        let name = text(package, "name").ok_or("poetry.lock has a package without a name")?;
        let groups = package.get("groups").or_else(|| package.get("category"));
        let main = groups.is_none_or(|groups| strings(groups).any(|group| group == "main"));
        let optional = package.get("optional").and_then(Value::as_bool).unwrap_or(false);
        if !main || optional {
            continue;
        }
        if package.get("source").is_some() {
            return Err(format!("poetry.lock takes {name} from elsewhere than the usual index"));
        }
        let marker = match package.get("markers") {
            Some(Value::Table(by_group)) => text(by_group, "main").unwrap_or_default(),
            Some(marker) => marker.as_str().unwrap_or_default(),
            None => "",
        };
        if !marker.is_empty() && !applies(name, marker, target)? {
            continue;
        }
        let version = text(package, "version").unwrap_or_default();
        // Before 1.5 the files were all in one table.
        let old = metadata.get("files").and_then(|files| files.get(name));
        let files = package.get("files").or(old).and_then(Value::as_array);
        let files = files.into_iter().flatten().filter_map(Value::as_table);
        let wheels = files.filter(|f| text(f, "file").is_some_and(|file| file.ends_with(".whl")));
        line(&mut out, name, version, marker, wheels.filter_map(|wheel| text(wheel, "hash")))?;
    }
    Ok(out)
}

/// `name==version --hash=sha256:…`, checked.
fn line<'a>(
    out: &mut String,
    name: &str,
    version: &str,
    marker: &str,
    hashes: impl Iterator<Item = &'a str>,
) -> Result<(), String> {
    let bad = |what: &str| format!("the lock file has {name:?} {version:?}, {what}");
    PackageName::new(name).map_err(|_| bad("whose name is none"))?;
    if version.is_empty() || Specifiers::parse(&format!("=={version}")).is_err() {
        return Err(bad("whose version is none"));
    }
    write!(out, "{name}=={version}").expect("because writing to a string cannot fail");
    if !marker.is_empty() {
        write!(out, " ; {marker}").expect("because writing to a string cannot fail");
    }
    let mut any = false;
    for hash in hashes {
        let digest = hash.strip_prefix("sha256:").filter(|digest| is_sha256(digest));
        let digest = digest.ok_or_else(|| bad("with a hash that is not SHA-256"))?;
        write!(out, " --hash=sha256:{digest}").expect("because writing to a string cannot fail");
        any = true;
    }
    out.push('\n');
    if any { Ok(()) } else { Err(bad("which has no wheel, only a source archive")) }
}

fn applies(name: &str, marker: &str, target: &Target) -> Result<bool, String> {
    let requirement: Requirement = format!("{name} ; {marker}")
        .parse()
        .map_err(|error| format!("the lock file's marker {marker:?} cannot be read: {error}"))?;
    Ok(requirement.applies(target, None))
}

fn text<'a>(table: &'a Table, name: &str) -> Option<&'a str> {
    table.get(name).and_then(Value::as_str)
}

/// A string, or the strings of a list.
fn strings(value: &Value) -> impl Iterator<Item = &str> {
    let one = value.as_str().into_iter();
    one.chain(value.as_array().into_iter().flatten().filter_map(Value::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<String>, String> {
        as_requirements(text, &Target::new("trixie", "3.13", "x86_64").expect("a known target"))
    }

    fn hash(letter: char) -> String {
        letter.to_string().repeat(64)
    }

    #[test]
    fn requirements_files_are_left_alone() {
        assert_eq!(read("flask[async]==3.0\n# [project]\n"), Ok(None));
    }

    #[test]
    fn a_pyproject_gives_its_dependencies() {
        let text = "[project]\nname = \"x\"\ndependencies = [\"flask>=3\", \"gunicorn\"]\n";
        assert_eq!(read(text), Ok(Some("flask>=3\ngunicorn\n".into())));
        assert_eq!(read("[project]\nname = \"x\"\n"), Ok(Some(String::new())));
    }

    #[test]
    fn a_uv_lock_gives_what_the_app_reaches() {
        let package = |name: &str, letter: char, more: &str| {
            format!(
                "[[package]]\nname = \"{name}\"\nversion = \"1.0\"\nsource = {{ registry = \
                 \"x\" }}\nwheels = [{{ url = \"u\", hash = \"sha256:{}\" }}]\n{more}\n",
                hash(letter)
            )
        };
        let text = [
            "version = 1\nrequires-python = \">=3.9\"\n",
            "[[package]]\nname = \"app\"\nversion = \"0\"\nsource = { virtual = \".\" }\n\
             dependencies = [{ name = \"a\", extra = [\"x\"] }, \
             { name = \"w\", marker = \"sys_platform == 'win32'\" }]\n\
             [package.dev-dependencies]\ndev = [{ name = \"d\" }]\n",
            &package(
                "a",
                'a',
                "dependencies = [{ name = \"b\" }]\n\
                     [package.optional-dependencies]\nx = [{ name = \"c\" }]",
            ),
            &package("b", 'b', "dependencies = [{ name = \"a\" }]"),
            &package("c", 'c', ""),
            &package("d", 'd', ""),
            &package("w", 'e', ""),
        ]
        .concat();
        let lines = read(&text).expect("good").expect("a lock file");
        let names: Vec<&str> = lines.lines().filter_map(|l| l.split("==").next()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert!(lines.contains(&format!("c==1.0 --hash=sha256:{}\n", hash('c'))));
        let error = read(&text.replace("name = \"c\" }]", "name = \"z\" }]")).expect_err("no z");
        assert!(error.contains("lacks z"), "{error}");
    }

    #[test]
    fn a_poetry_lock_gives_its_main_group() {
        let package = |name: &str, more: &str| {
            format!(
                "[[package]]\nname = \"{name}\"\nversion = \"1.0\"\noptional = false\nfiles = \
                 [{{ file = \"{name}-1.0.tar.gz\", hash = \"sha256:{}\" }}, {{ file = \
                 \"{name}-1.0-py3-none-any.whl\", hash = \"sha256:{}\" }}]\n{more}\n",
                hash('0'),
                hash('1')
            )
        };
        let text = [
            package("a", "groups = [\"main\", \"dev\"]"),
            package("d", "groups = [\"dev\"]"),
            package("w", "groups = [\"main\"]\nmarkers = \"os_name == 'nt'\""),
            "[metadata]\nlock-version = \"2.1\"\n".to_owned(),
        ]
        .concat();
        let want = format!("a==1.0 --hash=sha256:{}\n", hash('1'));
        assert_eq!(read(&text), Ok(Some(want)));
    }

    #[test]
    fn what_cannot_be_taken_is_told() {
        let source = "[[package]]\nname = \"a\"\nversion = \"1\"\nsource = { git = \"x\" }\n";
        for (text, want) in [
            ("[project]\ndependencies = [", "no proper TOML"),
            ("[project]\ndynamic = [\"dependencies\"]\n", "dynamic"),
            ("[project]\ndependencies = [\"-r x\"]\n", "no requirement"),
            ("[tool.poetry]\nname = \"x\"\n", "commit poetry.lock"),
            (source, "what the app is"),
            ("[[package]]\nname = \"a\"\n[metadata]\nlock-version = \"9\"\n", "format \"9\""),
            ("[[package]]\nname = \"a\"\n[metadata]\nlock-version = \"2.0\"\n", "version is none"),
        ] {
            let error = read(text).expect_err(want);
            assert!(error.contains(want), "{error}");
        }
    }
}
