use super::*;
use crate::debian::testing::Signer;

fn check(message: &[u8], keyrings: &[PathBuf], by: &SignedBy) -> Result<Verified, String> {
    verify(message, keyrings, by).map_err(|e| e.to_string())
}

#[test]
fn only_a_good_signature_by_a_known_key_counts() {
    let (ours, other) = (Signer::new(), Signer::new());
    let message = ours.sign("Origin: Debian\nSuite: demo\n");
    let any = SignedBy::default();
    let good = check(&message, &[ours.keyring()], &any).expect("good");
    assert_eq!(good.text, b"Origin: Debian\nSuite: demo\n");
    assert_eq!(good.signers.len(), 1);
    assert_eq!(good.signers[0].len(), 40);
    check(&message, &[other.keyring(), ours.keyring()], &any).expect("one of them");

    let refused = |message: &[u8], keyrings: &[PathBuf], by: &SignedBy, want: &str| {
        let error = check(message, keyrings, by).expect_err(want);
        assert!(error.contains(want), "{error}");
    };
    refused(&message, &[other.keyring()], &any, "in no keyring");
    refused(&message, &[], &any, "no keyring");
    refused(&message, &["/nonexistent.gpg".into()], &any, "cannot be used");
    refused(b"Origin: Debian\n", &[ours.keyring()], &any, "there is none");
    let forged = String::from_utf8(message.clone()).expect("text").replace("demo", "evil");
    refused(forged.as_bytes(), &[ours.keyring()], &any, "is wrong");

    // Text outside the signed part is not taken for it.
    let around = [b"Origin: Evil\n\n", &message[..]].concat();
    if let Ok(verified) = check(&around, &[ours.keyring()], &any) {
        assert_eq!(verified.text, b"Origin: Debian\nSuite: demo\n");
    }

    let pinned =
        |keyring: &Signer| SignedBy { keyrings: vec![keyring.keyring()], ..SignedBy::default() };
    check(&message, &[other.keyring()], &pinned(&ours)).expect("its own keyring counts");
    refused(&message, &[ours.keyring()], &pinned(&other), "in no keyring");
    let exactly = |key: &str| SignedBy { fingerprints: vec![key.into()], ..SignedBy::default() };
    check(&message, &[ours.keyring()], &exactly(&good.signers[0])).expect("that key");
    refused(&message, &[ours.keyring()], &exactly("ABCDEF"), "none of the keys");

    let armored = String::from_utf8(ours.gpg(&["--armor", "--export"], b"")).expect("text");
    let embedded = SignedBy { embedded: Some(armored.clone()), ..SignedBy::default() };
    check(&message, &[], &embedded).expect("an embedded key");
    let dir = tempfile::tempdir().expect("a directory");
    let asc = dir.path().join("k.asc");
    std::fs::write(&asc, armored).expect("written");
    check(&message, &[asc], &any).expect("an armoured keyring");
}

#[test]
fn status_lines_are_read_strictly() {
    let ok = |status: &str| signers_of_status(status).is_ok();
    assert!(ok("[GNUPG:] GOODSIG 1 a\n[GNUPG:] VALIDSIG F1 x\n"));
    // One of several keys is not in the keyring: apt takes that as well.
    assert!(ok("[GNUPG:] NO_PUBKEY 2\n[GNUPG:] GOODSIG 1 a\n[GNUPG:] VALIDSIG F1 x\n"));
    for bad in [
        "",
        "VALIDSIG F1",
        "[GNUPG:] NO_PUBKEY 2\n",
        "[GNUPG:] EXPKEYSIG 1 a\n[GNUPG:] VALIDSIG F1 x\n",
        "[GNUPG:] REVKEYSIG 1 a\n[GNUPG:] VALIDSIG F1 x\n",
        "[GNUPG:] GOODSIG 1 a\n[GNUPG:] VALIDSIG F1 x\n[GNUPG:] BADSIG 2 b\n",
    ] {
        assert!(!ok(bad), "{bad}");
    }
}

#[test]
fn sqv_agrees_where_it_is_installed() {
    if Command::new("sqv").arg("--version").output().is_err() {
        return;
    }
    let (ours, other) = (Signer::new(), Signer::new());
    let message = ours.sign("Origin: Debian\n\n- dashes and blanks  \nSuite: demo\n");
    let run = |message: &[u8], keyrings: &[PathBuf]| {
        let dir = tempfile::tempdir().expect("a directory");
        sqv(message, keyrings, dir.path())
    };
    let good = run(&message, &[other.keyring(), ours.keyring()]).expect("good");
    assert_eq!(good.text, b"Origin: Debian\n\n- dashes and blanks  \nSuite: demo\n");
    assert_eq!(good.signers.len(), 1);
    assert!(run(&message, &[other.keyring()]).is_err());
    let forged = String::from_utf8(message).expect("text").replace("demo", "evil");
    assert!(run(forged.as_bytes(), &[ours.keyring()]).is_err());
}
