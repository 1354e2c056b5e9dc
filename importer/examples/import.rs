//! `keg import debian` and the children it starts, without the rest of `keg`:
//!
//! ```sh
//! export KEG_HOME=/tmp/keg
//! cargo run -p importer --example import -- debian trixie python3 ca-certificates
//! ```

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use importer::{Base, Progress, Request};
use keg::Keg;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let Some(home) = std::env::var_os("KEG_HOME").map(PathBuf::from) else {
        eprintln!("set KEG_HOME to the directory of a Keg");
        return ExitCode::FAILURE;
    };
    let keg = match Keg::open_or_create(&home) {
        Ok(keg) => keg,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let code = match words.as_slice() {
        ["sandbox", rest @ ..] => {
            sandbox::main(&rest.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
        }
        ["work", "import", key] => importer::work_import(&keg, key),
        ["debian", suite, packages @ ..] => import(&keg, suite, packages),
        ["checkout", kid, dir] => checkout(&keg, kid, dir.as_ref()),
        _ => {
            eprintln!("usage: import debian SUITE PACKAGE… | import checkout KID DIR");
            2
        }
    };
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn checkout(keg: &Keg, kid: &str, dir: &Path) -> i32 {
    let kid = match kid.parse() {
        Ok(kid) => kid,
        Err(error) => {
            eprintln!("{error}");
            return 2;
        }
    };
    match keg::ingest::checkout(keg.objects(), &kid, dir) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            1
        }
    }
}

fn import(keg: &Keg, suite: &str, packages: &[&str]) -> i32 {
    let began = Instant::now();
    let (packages, base) = match packages {
        ["--none", rest @ ..] => (rest, Base::None),
        all => (all, Base::Essential),
    };
    let request = Request::debian(suite, packages, base);
    let result = importer::import_now(keg, &request, &mut |news| match news {
        Progress::Phase(text) => println!("{:7.3} {text}", began.elapsed().as_secs_f64()),
        Progress::Detail(text) => println!("          {text}"),
        Progress::Output(_) | Progress::Count { .. } => {}
    });
    let seconds = began.elapsed().as_secs_f64();
    match result {
        Ok(lock) => {
            let count = lock["debian"]["packages"].as_array().map_or(0, Vec::len);
            println!("{seconds:7.3} {count} packages, {}", lock["debian"]["rootfs"]);
            0
        }
        Err(error) => {
            eprintln!("{}\nHint: {}", error.message(), error.hint());
            1
        }
    }
}
