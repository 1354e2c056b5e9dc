//! Sources as people write them, and as those write them who mean harm.

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn sources_and_what_is_kept_of_them() {
    let pinned = format!("git+https://h/r#{ID}");
    let pinned_path = format!("git+https://h/r#{ID}:a");
    for (text, source, reference) in [
        ("git+https://h/r.git", "git+https://h/r.git", format!("{ID} HEAD")),
        ("git+https://h/r#main:docs/", "git+https://h/r", format!("{ID} main:docs")),
        ("git+http://h:80/r#:docs", "git+http://h/r", format!("{ID} HEAD:docs")),
        ("git+ssh://git@h/r#v1.0", "git+ssh://git@h/r", format!("{ID} v1.0")),
        ("git+file:///srv/r#refs/pull/1", "git+file:///srv/r", format!("{ID} refs/pull/1")),
        (&pinned, "git+https://h/r", ID.to_owned()),
        (&pinned_path, "git+https://h/r", format!("{ID}:a")),
        ("keg+http://h:7070/a/b/", "keg+http://h:7070", "/a/b".to_owned()),
        ("keg+https://h/a%20b", "keg+https://h", "/a b".to_owned()),
        ("keg+http://[::1]:7/a@K-0123abcd", "keg+http://[::1]:7", "/a@K-0123abcd".to_owned()),
    ] {
        let parsed = Source::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let git = text.starts_with("git");
        let kept = (parsed.source(), parsed.reference(Some(ID)));
        assert_eq!(kept, (source.to_owned(), reference.clone()), "{text}");
        let again = Source::of_entry(&kept.0, &kept.1).expect(text);
        assert_eq!(again, (parsed.clone(), git.then(|| ID.to_owned())), "{text}");
        assert_eq!(Source::parse(&parsed.to_string()), Ok(parsed.clone()), "{text}");
        assert_eq!(
            parsed.is_pinned(),
            text.contains("@K-") || reference.starts_with(ID) && !reference.contains(' ')
        );
    }
}

#[test]
fn hostile_sources() {
    for text in [
        "",
        "git+",
        "keg+",
        "https://h/r",
        "/srv/repo",
        "git@h:r",
        "h:r",
        "-u",
        "git+-u",
        "git+ext::sh -c id",
        "git+ext::sh",
        "git+git://h/r",
        "git+ftp://h/r",
        "ext::sh",
        "git+fd::3",
        "git+transport::https://h/r",
        "git+https://",
        "git+https://h",
        "git+https://h/",
        "git+https://u:p@h/r",
        "git+https://u@h/r",
        "git+https://h/r?token=x",
        "git+ssh://-oProxyCommand=id/r",
        "git+ssh://-oProxyCommand=id@h/r",
        "git+ssh://git:secret@h/r",
        "git+file://host/r",
        "git+file://",
        "git+https://h/r#-x",
        "git+https://h/r#a..b",
        "git+https://h/r#a@{1}",
        "git+https://h/r#a~1",
        "git+https://h/r#K-0123abcd",
        "git+https://h/r#main:../x",
        "git+https://h/r#main:a//b",
        "git+https://h/r#a b",
        "git+https://h/r\n#a",
        "git+https://h/\\r",
        "keg+http://h",
        "keg+http://h/",
        "keg+ftp://h/a",
        "keg+file:///a",
        "keg+http://u:p@h/a",
        "keg+http://h/a#b",
        "keg+http://h/a?b",
        "keg+http://h/a@K-",
        "keg+http://h/%2e%2e/a/%00",
        "keg+http://h/a//b",
        "keg+http://h/%ff",
    ] {
        let error = Source::parse(text).expect_err(text);
        assert!(!error.hint().is_empty());
        assert!(!error.to_string().contains("secret@"), "{error}");
    }
    assert!(Source::parse(&format!("git+https://h/{}", "x".repeat(3000))).is_err());
    for (source, reference) in [
        ("https://h/r", ID),
        ("", ID),
        ("git+https://h/r", "a b"),
        ("git+https://h/r", "-x"),
        ("keg+http://h", "a"),
        ("keg+http://h", "/../x"),
        ("git+ext::sh", "main"),
    ] {
        assert!(Source::of_entry(source, reference).is_err(), "{source} {reference}");
    }
}
