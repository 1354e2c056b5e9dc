//! Hostile requests: refused, told why, and nothing has changed.

use proptest::prelude::*;

use super::*;
use crate::{
    Kid,
    object::{Kind, Sums, wire::put_bytes, wire::put_varint},
};

#[test]
fn requests_that_are_wrong() {
    let (_dir, keg) = new_keg();
    put(&keg, "/x", b"x");
    let seq = keg.head().unwrap().seq;
    let ask = |verb: Verb, request: &[u8]| {
        let mut answer = Vec::new();
        let error = serve(&keg, verb, &mut &*request, &mut answer).expect_err("refused");
        assert!(answer.starts_with(b"keg-sync\x01"), "{error}");
        assert_eq!(answer[10], wire::FAILED, "{error}");
        assert_eq!(keg.head().unwrap().seq, seq);
        error.to_string()
    };
    for verb in Verb::ALL {
        for request in [&b""[..], b"GET / HTTP/1.1\r\n", b"keg-sync\x01\x09", &[0xff; 4000]] {
            ask(verb, request);
        }
    }
    let mut haves = wire::start(Message::WantTrees);
    haves.push(0);
    put_bytes(&mut haves, b"/x");
    put_varint(&mut haves, 1 << 32);
    assert!(ask(Verb::Trees, &haves).contains("is more than 64"));
    let mut relative = wire::start(Message::WantTrees);
    relative.push(0);
    put_bytes(&mut relative, b"/x/../../y");
    assert!(ask(Verb::Trees, &relative).contains("not a path"));
    let mut bits = wire::start(Message::WantPack);
    let value = keg.get(&path("/x")).unwrap().unwrap();
    wire::put_entry(&mut bits, Some(&value)).unwrap();
    bits.extend([0, 0, 0]);
    put_varint(&mut bits, 1 << 60);
    assert!(ask(Verb::Pack, &bits).contains("number of bits"));
    // A push of something whose parts are not there and do not come.
    let mut tree = Tree::default();
    tree.entries.insert(name("gone"), Entry::file(Kid::of_blob(b"gone"), 4));
    let bytes = tree.encode().unwrap();
    let value = Entry::tree(Kind::Tree.kid_of(&bytes), Sums { bytes: 4, entries: 1 });
    keg.objects().put(Kind::Tree, &bytes).unwrap();
    let mut offer = wire::start(Message::OfferPack);
    put_bytes(&mut offer, b"/y");
    offer.push(0);
    wire::put_entry(&mut offer, Some(&value)).unwrap();
    offer.extend([0, 0]);
    wire::put_entry(&mut offer, Some(&value)).unwrap();
    offer.extend([0, 0, 0]);
    let mut missing = bitmap::Bitmap::default();
    missing.push(false);
    missing.put(&mut offer).unwrap();
    offer.extend([0, 0, 0]);
    assert!(ask(Verb::OfferPack, &offer).contains("is not in this Keg"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn any_bytes_are_refused_without_harm(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), at in any::<usize>(),
        to in any::<u8>()
    ) {
        let keg = Keg::in_memory();
        put(&keg, "/app", b"app");
        let head = keg.head().unwrap();
        for line in include_str!("golden.txt").lines() {
            let mut words = line.split(' ');
            let verb: Verb = words.next().unwrap().parse().unwrap();
            let asked = words.next() == Some("asked");
            let mut message = hex::decode(words.next().unwrap()).unwrap();
            let mut random = message[..10].to_vec();
            random.extend_from_slice(&bytes);
            let len = message.len();
            message[at % len] = to;
            for message in [message, random] {
                if asked {
                    let _ = serve(&keg, verb, &mut message.as_slice(), &mut Vec::new());
                } else {
                    let mut way = Same(message);
                    let _ = pull_from(&keg, &mut way);
                    let _ = usually(|o| push(&keg, &mut way, &path("/app"), &path("/app"), o));
                }
            }
        }
        prop_assert_eq!(keg.get(&path("/app")).unwrap(), keg.get_at(&path("/app"), &head).unwrap());
    }
}

/// Answers everything with the same.
struct Same(Vec<u8>);

impl Transport for Same {
    fn name(&self) -> &str {
        "same"
    }

    fn exchange<'a>(&'a mut self, _: Verb, body: Body<'_>) -> io::Result<Box<dyn Read + 'a>> {
        if let Body::Stream(stream) = body {
            io::copy(stream, &mut io::sink())?;
        }
        Ok(Box::new(self.0.as_slice()))
    }
}

fn pull_from(keg: &Keg, way: &mut Same) -> Result<Pulled, SyncError> {
    usually(|options| pull(keg, way, &path("/app"), &path("/app"), options))
}
