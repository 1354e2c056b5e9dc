//! What wheels are chosen for: a Python, on a Debian suite, on a machine.

use super::{
    marker::Variable,
    version::{Version, parse_version},
};

/// One supported suite: its Python and its C library.
struct Suite {
    name: &'static str,
    /// `major.minor`, and the full version the suite ships.
    python: (u32, u32),
    python_full: &'static str,
    /// Minor version of glibc 2.
    glibc_minor: u32,
    /// Kernel release reported to markers: the suite's own, so that a lock does not depend on
    /// the machine that made it.
    kernel: &'static str,
}

/// Debian's suites with the Python each of them ships.
const SUITES: &[Suite] = &[
    Suite {
        name: "trixie",
        python: (3, 13),
        python_full: "3.13.5",
        glibc_minor: 41,
        kernel: "6.12",
    },
    Suite {
        name: "bookworm",
        python: (3, 11),
        python_full: "3.11.2",
        glibc_minor: 36,
        kernel: "6.1",
    },
];

/// Machines that wheels are chosen for, as `uname -m` calls them.
const MACHINES: &[&str] = &["x86_64", "aarch64"];

/// The Python a suite ships, as `3.13`, if the suite is known.
pub fn python_of(suite: &str) -> Option<String> {
    let known = SUITES.iter().find(|known| known.name == suite)?;
    Some(format!("{}.{}", known.python.0, known.python.1))
}

/// Where the packages will run.
#[derive(Clone, Debug)]
pub struct Target {
    suite: String,
    python: (u32, u32),
    glibc_minor: u32,
    machine: String,
    kernel: &'static str,
    python_full: Version,
}

/// Why packages cannot be chosen for a target.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TargetError {
    /// No such suite here.
    #[error("Python packages can be imported for Debian {known}, not for {suite:?}")]
    Suite {
        /// What was asked.
        suite: String,
        /// What there is.
        known: String,
    },
    /// The suite has another Python.
    #[error("Debian {suite} has Python {has}, not {asked}")]
    Python {
        /// The suite.
        suite: String,
        /// The Python it ships.
        has: String,
        /// What was asked.
        asked: String,
    },
    /// Neither x86_64 nor aarch64.
    #[error("no Python packages can be chosen for a machine of kind {0:?}")]
    Machine(String),
}

impl Target {
    /// The target for a suite, `3.13`-like Python and machine (`x86_64`).
    ///
    /// # Errors
    /// An unknown suite or machine, or a Python that the suite does not ship.
    pub fn new(suite: &str, python: &str, machine: &str) -> Result<Self, TargetError> {
        let found = SUITES.iter().find(|s| s.name == suite).ok_or_else(|| TargetError::Suite {
            suite: suite.to_owned(),
            known: SUITES.iter().map(|s| s.name).collect::<Vec<_>>().join(" and "),
        })?;
        let (major, minor) = found.python;
        if python != format!("{major}.{minor}") {
            return Err(TargetError::Python {
                suite: suite.to_owned(),
                has: format!("{major}.{minor}"),
                asked: python.to_owned(),
            });
        }
        if !MACHINES.contains(&machine) {
            return Err(TargetError::Machine(machine.to_owned()));
        }
        Ok(Self {
            suite: suite.to_owned(),
            python: found.python,
            glibc_minor: found.glibc_minor,
            machine: machine.to_owned(),
            kernel: found.kernel,
            python_full: parse_version(found.python_full)
                .expect("because the versions in SUITES are valid, which a test checks"),
        })
    }

    /// The target on this kind of machine.
    ///
    /// # Errors
    /// As for [`Target::new`].
    pub fn here(suite: &str, python: &str) -> Result<Self, TargetError> {
        Self::new(suite, python, std::env::consts::ARCH)
    }

    /// `3.13`.
    pub fn python(&self) -> String {
        format!("{}.{}", self.python.0, self.python.1)
    }

    /// Python's major and minor version.
    pub fn python_version(&self) -> (u32, u32) {
        self.python
    }

    /// Python's full version, for `Requires-Python`.
    pub fn python_full(&self) -> &Version {
        &self.python_full
    }

    /// Minor version of glibc 2.
    pub fn glibc_minor(&self) -> u32 {
        self.glibc_minor
    }

    /// As `uname -m` says.
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// The Debian suite.
    pub fn suite(&self) -> &str {
        &self.suite
    }

    /// The value of an environment marker's variable.
    pub fn value(&self, variable: Variable) -> String {
        let text = match variable {
            Variable::OsName => "posix",
            Variable::SysPlatform => "linux",
            Variable::PlatformMachine => &self.machine,
            Variable::PlatformPythonImplementation => "CPython",
            Variable::PlatformRelease => self.kernel,
            Variable::PlatformSystem => "Linux",
            // The kernel's build, which differs from machine to machine; an extra, which is no
            // part of a target.
            Variable::PlatformVersion | Variable::Extra => "",
            Variable::PythonVersion => return self.python(),
            Variable::PythonFullVersion | Variable::ImplementationVersion => {
                return self.python_full.to_string();
            }
            Variable::ImplementationName => "cpython",
        };
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_and_machine_makes_a_target() {
        for suite in SUITES {
            for machine in MACHINES {
                let python = format!("{}.{}", suite.python.0, suite.python.1);
                let target = Target::new(suite.name, &python, machine).expect("a known target");
                assert_eq!(target.python(), python);
            }
        }
    }

    #[test]
    fn unknown_targets_say_what_there_is() {
        for ((suite, python, machine), want) in [
            (("sid", "3.13", "x86_64"), "trixie and bookworm, not for \"sid\""),
            (("trixie", "3.12", "x86_64"), "has Python 3.13, not 3.12"),
            (("trixie", "3.13", "vax"), "vax"),
        ] {
            let error = Target::new(suite, python, machine).expect_err("unknown").to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
