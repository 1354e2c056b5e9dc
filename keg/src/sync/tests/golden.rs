//! The bytes of all messages: another version of Keg must be able to talk to this one.

use super::*;
use crate::{Kid, testing::commit_of};

/// Tree, then a tree with one file changed and one added; and a commit of each.
fn two_versions(keg: &Keg) -> [Kid; 2] {
    let objects = keg.objects();
    let mut tree = Tree::default();
    let line = |n: u32| format!("line {n} of a file that is long enough to be compressed\n");
    let mut text: String = (0..20).map(line).collect();
    tree.entries.insert(name("text"), objects.put_bytes(text.as_bytes()).unwrap());
    tree.entries.insert(name("same"), objects.put_bytes(b"same").unwrap());
    let first = objects.put_tree(&tree).unwrap().kid().unwrap();
    let first = objects.put_commit(&commit_of(first, vec![], "first")).unwrap();
    text.insert_str(100, "a new line\n");
    tree.entries.insert(name("text"), objects.put_bytes(text.as_bytes()).unwrap());
    tree.entries.insert(name("new"), objects.put_bytes(b"new\n").unwrap());
    let second = objects.put_tree(&tree).unwrap().kid().unwrap();
    [first, objects.put_commit(&commit_of(second, vec![first], "second")).unwrap()]
}

/// Writes down what goes each way.
struct Recorded {
    way: Direct,
    lines: Vec<String>,
}

impl Transport for Recorded {
    fn name(&self) -> &str {
        "recorded"
    }

    fn exchange<'a>(&'a mut self, verb: Verb, body: Body<'_>) -> io::Result<Box<dyn Read + 'a>> {
        let mut answer = Vec::new();
        self.way.exchange(verb, body)?.read_to_end(&mut answer)?;
        let (asked, mut given) = self.way.last.clone();
        if verb == Verb::OfferPack {
            // The version's KID depends on the time.
            let end = given.len() - 32;
            given[end..].fill(0);
        }
        for (what, bytes) in [("asked", asked), ("answered", given)] {
            self.lines.push(format!("{} {what} {}", verb.as_str(), hex::encode(bytes)));
        }
        Ok(Box::new(Cursor::new(answer)))
    }
}

#[test]
fn golden_messages_never_change() {
    let (there, here) = (Keg::in_memory(), Keg::in_memory());
    let [first, second] = two_versions(&there);
    set(&there, "/app", Entry::commit(first));
    pull_same(&here, &mut Direct::to(&there), "/app").unwrap();
    let mut recorded = Recorded { way: Direct::to(&there), lines: Vec::new() };
    set(&there, "/app", Entry::commit(second));
    usually(|options| pull(&here, &mut recorded, &path("/app"), &path("/app"), options)).unwrap();
    let empty = Keg::in_memory();
    recorded.way = Direct::to(&empty);
    usually(|options| push(&here, &mut recorded, &path("/app"), &path("/b"), options)).unwrap();
    let found = recorded.lines.join("\n") + "\n";
    assert_eq!(found, include_str!("golden.txt"), "written now, and once for ever");

    // What was written once is understood, whatever is written now.
    let again = Keg::in_memory();
    set(&there, "/app", Entry::commit(first));
    pull_same(&again, &mut Direct::to(&there), "/app").unwrap();
    let mut old = Told(include_str!("golden.txt").lines());
    usually(|options| pull(&again, &mut old, &path("/app"), &path("/app"), options)).unwrap();
    assert_eq!(again.get(&path("/app")).unwrap(), Some(Entry::commit(second)));
    check_clean(&again);
}

/// Answers with the answers of the file.
struct Told(std::str::Lines<'static>);

impl Transport for Told {
    fn name(&self) -> &str {
        "told"
    }

    fn exchange<'a>(&'a mut self, verb: Verb, _: Body<'_>) -> io::Result<Box<dyn Read + 'a>> {
        let start = format!("{} answered ", verb.as_str());
        let answer = self.0.find_map(|line| line.strip_prefix(&start)).expect("it was recorded");
        Ok(Box::new(Cursor::new(hex::decode(answer).expect("hex"))))
    }
}
