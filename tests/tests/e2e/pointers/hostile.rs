//! Repositories and Kegs that mean harm, and pointers that came from elsewhere.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
};

use keg::{
    Keg, Kid, Txn,
    object::{Attrs, Entry, Value},
};
use keg_tests::World;
use serde_json::json;

use super::{file_url, kid, repository, sh, world};

fn set_pointer(world: &World, path: &str, source: &str, reference: &str, kid: Kid) {
    let keg = Keg::open(&world.home()).expect("a Keg");
    let (source, reference) = (source.to_owned(), reference.to_owned());
    let value = Value::Pointer { source, reference, kid: Some(kid) };
    let entry = Entry { value, attrs: Attrs::with_mode(0o755) };
    let path = path.parse().expect("a path");
    keg.commit(Txn::new("test", "a pointer from elsewhere").set(path, entry)).expect("set");
}

#[test]
fn repositories_that_mean_harm() {
    let (world, repo) = (world(), repository());
    let url = file_url(&repo);
    let blob = sh(&repo, "echo x | git hash-object -w --stdin");
    // Git itself will not make some of these, so this writes the tree's bytes.
    let write = "import sys; sys.stdout.buffer.write(b'100644 ' + sys.argv[1].encode() + \
                 b'\\0' + bytes.fromhex(sys.argv[2]))";
    for (branch, name) in [("a", ".git"), ("b", ".GIT"), ("c", ".."), ("d", "a/b"), ("e", "git~1")]
    {
        let tree = format!("python3 -c \"{write}\" '{name}' {blob}");
        let tree = format!("{tree} | git hash-object -w -t tree --literally --stdin");
        let commit = format!("git commit-tree -m bad $({tree})");
        sh(&repo, &format!("git update-ref refs/heads/{branch} $({commit})"));
        let done = world.keg(&["point", "/lib/bad", &format!("{url}#{branch}")]);
        assert!(done.code == 5 && done.err.contains("Hint: "), "{name}: {done:?}");
        let why = ["fsck", "bad", "contains", "taken over"].iter().any(|w| done.err.contains(w));
        assert!(why, "{name}: {done:?}");
        assert_eq!(world.keg(&["ls", "/lib/bad"]).code, 1, "{name}: nothing was set");
    }
    // Hooks and helpers of the repository, and what asks for them, do nothing here.
    let mark = world.scratch().join("ran");
    let touch = format!("touch {}", mark.display());
    let hook = ".git/hooks/post-checkout";
    sh(&repo, &format!("printf '#!/bin/sh\\n{touch}\\n' > {hook} && chmod +x {hook}"));
    sh(&repo, &format!("git config uploadpack.packObjectsHook '{touch}; cat'"));
    sh(&repo, &format!("git config filter.x.smudge '{touch}'"));
    repo.write(".gitattributes", "* filter=x\n");
    repo.commit("Attributes");
    world.keg(&["point", "/lib/x", &url]).ok();
    assert!(!mark.exists());

    // Links stay links, submodules stay names, Git LFS is told.
    repo.write("big.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
    sh(
        &repo,
        "ln -s /etc/passwd leak && git update-index --add --cacheinfo \
        160000,0123456789012345678901234567890123456789,sub \
        && printf '[submodule \"sub\"]\\npath=sub\\nurl=https://h/sub\\n' > .gitmodules && \
        git add leak big.bin .gitmodules && git commit -qm special",
    );
    let done = world.keg(&["update", "/lib/x"]);
    assert!(done.err.contains("sub is a submodule") && done.err.contains("Git LFS"), "{done:?}");
    assert_eq!(world.keg(&["cat", "/lib/x/leak"]).ok(), "/etc/passwd\n");
    let rows = world.json(&["ls", "/lib/x"]);
    let sub = rows.as_array().expect("rows").iter().find(|row| row["name"] == "sub");
    assert_eq!(sub.expect("there")["source"], json!("https://h/sub"), "{rows}");
    let below = world.keg(&["ls", "/lib/x/sub/a"]);
    assert_eq!(below.code, 1, "{below:?}");
    let out = world.scratch().join("out");
    world.keg(&["checkout", "/lib/x", &out.display().to_string()]).ok();
    assert_eq!(std::fs::read_dir(out.join("sub")).expect("a directory").count(), 0);
    world.assert_clean();
}

#[test]
fn sources_are_refused_before_anything_is_asked() {
    let world = world();
    for source in [
        "git+ext::sh -c 'touch /tmp/x'",
        "git+https://user:hunter2@h/r",
        "-upload-pack=x",
        "git+ssh://-oProxyCommand=x/r",
        "git+https://h/r#--upload-pack=x",
        "git+fd::0",
        "keg+http://u:p@h/a",
        "keg+http://127.0.0.1:1/",
        "/srv/repo",
        "https://h/r",
    ] {
        let done = world.keg(&["point", "/lib/x", "--", source]);
        assert!(matches!(done.code, 1 | 2), "{source}: {done:?}");
        assert!(!done.err.contains("hunter2"), "{done:?}");
        assert!(done.err.contains("Hint: ") || done.code == 2, "{source}: {done:?}");
    }
    let keg = Keg::open(&world.home()).expect("a Keg");
    assert_eq!(keg.head().expect("a version").seq, 0, "nothing was set");
}

#[test]
fn pointers_from_elsewhere_do_not_use_this_machines_files() {
    let (world, repo) = (world(), repository());
    let url = file_url(&repo);
    let other = Kid::of_blob(b"something else");
    set_pointer(&world, "/theirs", &url, "HEAD", other);
    for args in [&["ls", "/theirs"][..], &["cat", "/theirs/README"], &["update", "/theirs"]] {
        let done = world.keg(args);
        assert!(done.err.contains("nobody has named that here"), "{args:?}: {done:?}");
        assert!(matches!(done.code, 1 | 5), "{done:?}");
    }
    // Once somebody here has named it, it may be used; what it gives must be what was resolved.
    world.keg(&["point", "/ours", &url]).ok();
    let done = world.keg(&["ls", "/theirs"]);
    assert!(done.code == 5 && done.err.contains("nothing shows it"), "{done:?}");
    world.keg(&["update", "/theirs"]).ok();
    assert_eq!(kid(&world, "/theirs"), kid(&world, "/ours"));
    let broken: [(&str, &str); 3] = [("", ""), ("git+ext::sh", "x"), ("keg+http://h", "/../a")];
    for (source, reference) in broken {
        set_pointer(&world, "/broken", source, reference, other);
        let done = world.keg(&["cat", "/broken/a"]);
        assert!(done.code == 1 && done.err.contains("Hint: "), "{source:?}: {done:?}");
    }
    world.assert_clean();
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a server for a test, beside it")]
fn answers_that_are_no_answers() {
    let world = world();
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\njunk",
        "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nkeg-sync\u{1}\u{2}",
        "HTTP/1.1 301 Moved\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
        "nonsense\r\n\r\n",
        "",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = listener.local_addr().expect("an address");
        let serving = std::thread::spawn(move || {
            // Each source asks at least once, and no more often than this.
            for _ in 0..2 {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let mut request = [0; 4096];
                // What was asked does not matter.
                let _ = stream.read(&mut request);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        for source in [format!("keg+http://{address}/a"), format!("git+http://{address}/r")] {
            let done = world.keg(&["point", "/lib/x", &source]);
            // To git, what is no answer of a server may be a repository without any refs.
            let code = done.code == 5 || done.code == 1 && done.err.contains("it has no HEAD");
            assert!(code && done.err.contains(&source), "{answer:?}: {done:?}");
        }
        serving.join().expect("both have asked");
    }
    world.assert_clean();
}
