//! Compiles `tiny/`, the supervisor and PID 1 of containers, to a static program of a few
//! kilobytes without any library, which the crate carries inside itself.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=tiny");
    let var = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let out = PathBuf::from(var("OUT_DIR")).join("tiny");
    let mut rustc = Command::new(var("RUSTC"));
    rustc.args(["--edition", "2024", "--crate-type", "bin", "--crate-name", "tiny"]);
    rustc.args(["--target", &var("TARGET"), "-o"]).arg(&out);
    for option in [
        "opt-level=s",
        "panic=abort",
        "strip=symbols",
        "relocation-model=static",
        "target-feature=+crt-static",
        "link-arg=-nostartfiles",
        "link-arg=-Wl,--build-id=none,-z,norelro,-z,noseparate-code",
    ] {
        rustc.args(["-C", option]);
    }
    let status = rustc.arg("tiny/main.rs").status().expect("rustc runs");
    assert!(status.success(), "the containers' supervisor does not compile: {status}");
}
