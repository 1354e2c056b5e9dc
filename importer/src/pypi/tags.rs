//! Wheel file names and which of them run on a target (PEP 425, 427, 600).

use super::{
    name::PackageName,
    target::Target,
    version::{Version, parse_version},
};

/// Longest file name taken, that of a Linux directory entry.
const MAX_FILE_NAME: usize = 255;
/// Oldest glibc 2 minor version that a manylinux tag names, on x86_64 and elsewhere.
const OLDEST_GLIBC_X86: u32 = 5;
const OLDEST_GLIBC_OTHER: u32 = 17;

/// What a wheel's file name says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WheelName {
    /// The project.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// The first part as written: the prefix of the `.dist-info` directory.
    pub escaped: String,
    /// Build number and its suffix; higher is newer. `(0, "")` if there is none.
    pub build: (u64, String),
    /// Alternatives, each with `.`: interpreters, ABIs, platforms.
    tags: [String; 3],
}

/// How well a wheel fits: lower fits better. Comparable only for one target.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fit(u32);

impl WheelName {
    /// Reads `flask-3.1.0-py3-none-any.whl`; `None` if it is not a wheel's name.
    pub fn parse(file: &str) -> Option<Self> {
        if file.len() > MAX_FILE_NAME || file.contains(['/', '\\', '\0']) {
            return None;
        }
        let parts: Vec<&str> = file.strip_suffix(".whl")?.split('-').collect();
        let (build, tags) = match parts.as_slice() {
            [_, _, py, abi, plat] => ((0, String::new()), [py, abi, plat]),
            [_, _, build, py, abi, plat] => (parse_build(build)?, [py, abi, plat]),
            _ => return None,
        };
        Some(Self {
            name: PackageName::new(parts[0]).ok()?,
            version: parse_version(&parts[1].replace('_', "-"))?,
            escaped: parts[0].to_owned(),
            build,
            tags: tags.map(|tag| tag.to_ascii_lowercase()),
        })
    }

    /// How well it fits the target; `None`: it does not run there.
    pub fn fit(&self, target: &Target) -> Option<Fit> {
        let [pythons, abis, platforms] = &self.tags;
        let mut best: Option<Fit> = None;
        for platform in platforms.split('.') {
            let Some(platform) = platform_rank(platform, target) else { continue };
            for python in pythons.split('.') {
                for abi in abis.split('.') {
                    let fit = tag_rank(python, abi, platform, target.python_version());
                    best = [best, fit].into_iter().flatten().min();
                }
            }
        }
        best
    }

    /// The tags as written, for messages: `cp312-cp312-win_amd64`.
    pub fn tag_text(&self) -> String {
        self.tags.join("-")
    }
}

/// `1`, `2abc` → number and suffix.
fn parse_build(text: &str) -> Option<(u64, String)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text[..digits].parse().ok()?;
    Some((number, text[digits..].to_owned()))
}

/// Where a wheel runs: any machine, or this one with a preference (0 is best).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Platform {
    Any,
    Native(u32),
}

fn platform_rank(platform: &str, target: &Target) -> Option<Platform> {
    if platform == "any" {
        return Some(Platform::Any);
    }
    let machine = target.machine();
    let head = platform.strip_suffix(machine)?.strip_suffix('_')?;
    let minor = match head {
        "linux" => return Some(Platform::Native(999)),
        "manylinux2014" => 17,
        "manylinux2010" if machine == "x86_64" => 12,
        "manylinux1" if machine == "x86_64" => 5,
        _ => {
            let digits = head.strip_prefix("manylinux_2_")?;
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse::<u32>().ok().filter(|_| plain)?
        }
    };
    let oldest = if machine == "x86_64" { OLDEST_GLIBC_X86 } else { OLDEST_GLIBC_OTHER };
    let newest = target.glibc_minor();
    // Newer glibc first; the named policies right after the number they stand for.
    let legacy = u32::from(!head.starts_with("manylinux_"));
    (oldest..=newest).contains(&minor).then(|| Platform::Native((newest - minor) * 2 + legacy))
}

/// Ranks in the order of `packaging.tags.sys_tags` for CPython.
fn tag_rank(python: &str, abi: &str, platform: Platform, own: (u32, u32)) -> Option<Fit> {
    let (implementation, major, minor) = split_python(python)?;
    let same = (major, minor) == (own.0, Some(own.1));
    let older = major == own.0 && minor.is_some_and(|minor| minor < own.1);
    // Steps back from the target's minor version; `py3` comes right after `py3X` of the target.
    let back = minor.map_or(0, |minor| own.1.saturating_sub(minor));
    let native = match platform {
        Platform::Native(rank) => Some(rank),
        Platform::Any => None,
    };
    let class = match (implementation, abi, native) {
        ("cp", _, Some(_)) if same && abi == python => 0,
        ("cp", "abi3", Some(_)) if same => 1,
        ("cp", "none", Some(_)) if same => 2,
        ("cp", "abi3", Some(_)) if older && minor >= Some(2) => 2 + back,
        ("py", "none", Some(_)) if same => 100,
        ("py", "none", Some(_)) if major == own.0 && minor.is_none() => 101,
        ("py", "none", Some(_)) if older => 101 + back,
        ("cp", "none", None) if same => 200,
        ("py", "none", None) if same => 201,
        ("py", "none", None) if major == own.0 && minor.is_none() => 202,
        ("py", "none", None) if older => 202 + back,
        _ => return None,
    };
    Some(Fit(class * 1000 + native.unwrap_or(0)))
}

/// `cp313` → (`cp`, 3, 13), `py3` → (`py`, 3, none).
fn split_python(text: &str) -> Option<(&str, u32, Option<u32>)> {
    let letters = text.bytes().take_while(u8::is_ascii_lowercase).count();
    let (implementation, digits) = text.split_at(letters);
    if !digits.bytes().all(|b| b.is_ascii_digit()) || digits.is_empty() || digits.len() > 4 {
        return None;
    }
    let (major, minor) = digits.split_at(1);
    let minor = if minor.is_empty() { None } else { Some(minor.parse().ok()?) };
    Some((implementation, major.parse().ok()?, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trixie() -> Target {
        Target::new("trixie", "3.13", "x86_64").expect("a known target")
    }

    #[test]
    fn names_are_read() {
        let name = WheelName::parse("Flask_Login-0.6.3-1b-py2.py3-none-any.whl").expect("good");
        assert_eq!(name.name.as_str(), "flask-login");
        assert_eq!(name.version.to_string(), "0.6.3");
        assert_eq!(name.build, (1, "b".to_owned()));
        assert_eq!(name.tag_text(), "py2.py3-none-any");
        for bad in [
            "flask-3.1.0.tar.gz",
            "flask-3.1.0-none-any.whl",
            "flask-x.y-py3-none-any.whl",
            "../f-1-py3-none-any.whl",
            "f-1-b1-py3-none-any.whl",
            "f-1-1-2-py3-none-any.whl",
        ] {
            assert_eq!(WheelName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn wheels_that_run_are_ranked_as_pip_ranks_them() {
        // Best first.
        let order = [
            "cp313-cp313-manylinux_2_41_x86_64",
            "cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64",
            "cp313-cp313-manylinux1_x86_64",
            "cp313-cp313-linux_x86_64",
            "cp313-abi3-manylinux_2_28_x86_64",
            "cp313-none-manylinux_2_28_x86_64",
            "cp311-abi3-manylinux_2_28_x86_64",
            "cp37-abi3-manylinux_2_28_x86_64",
            "py3-none-manylinux2014_x86_64",
            "py313-none-any",
            "py2.py3-none-any",
            "py312-none-any",
        ];
        let fits: Vec<Fit> = order
            .iter()
            .map(|tag| {
                let name = WheelName::parse(&format!("a-1-{tag}.whl")).expect(tag);
                name.fit(&trixie()).unwrap_or_else(|| panic!("{tag} should run"))
            })
            .collect();
        assert!(fits.is_sorted(), "{fits:?}");
    }

    #[test]
    fn wheels_for_other_places_do_not_run() {
        for tag in [
            "cp312-cp312-manylinux_2_17_x86_64",
            "cp314-abi3-manylinux_2_17_x86_64",
            "cp313-cp313t-manylinux_2_17_x86_64",
            "cp313-cp313-manylinux_2_42_x86_64",
            "cp313-cp313-manylinux_2_17_aarch64",
            "cp313-cp313-musllinux_1_2_x86_64",
            "cp313-cp313-win_amd64",
            "cp313-cp313-macosx_11_0_x86_64",
            "pp310-pypy310_pp73-manylinux_2_17_x86_64",
            "py2-none-any",
            "py314-none-any",
            "cp313-cp313-manylinux_2_+17_x86_64",
        ] {
            let name = WheelName::parse(&format!("a-1-{tag}.whl")).expect(tag);
            assert_eq!(name.fit(&trixie()), None, "{tag}");
        }
    }

    #[test]
    fn every_tag_of_packaging_is_accepted_on_an_older_glibc() {
        let bookworm = Target::new("bookworm", "3.11", "aarch64").expect("a known target");
        for (tag, want) in [
            ("cp311-cp311-manylinux_2_36_aarch64", true),
            ("cp311-cp311-manylinux_2_37_aarch64", false),
            ("cp311-cp311-manylinux2014_aarch64", true),
            ("cp311-cp311-manylinux2010_aarch64", false),
        ] {
            let name = WheelName::parse(&format!("a-1-{tag}.whl")).expect(tag);
            assert_eq!(name.fit(&bookworm).is_some(), want, "{tag}");
        }
    }
}
