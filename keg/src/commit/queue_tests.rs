//! The queue by itself: slots, states, bells, turns.

use super::*;

fn open(dir: &Path) -> Queue {
    Queue::open(dir).expect("it opens").expect("it is of this version")
}

#[test]
fn each_has_a_slot_of_its_own_until_it_closes() {
    let dir = tempfile::tempdir().expect("a directory");
    let queues: Vec<Queue> = (0..SLOTS).map(|_| open(dir.path())).collect();
    let mut slots: Vec<_> = queues.iter().map(Queue::claim).collect();
    slots.sort_unstable();
    assert_eq!(slots, (0..SLOTS).map(Some).collect::<Vec<_>>());
    let late = open(dir.path());
    assert_eq!(late.claim(), None, "all are taken");
    assert!((0..SLOTS).all(|slot| late.is_owned(slot)));
    // One dies with a transaction waiting: its slot is not given away before that is settled.
    queues[7].set_state(7, State::Queued);
    drop(queues);
    assert!(!late.is_owned(7));
    let again: Vec<Queue> = (1..SLOTS).map(|_| open(dir.path())).collect();
    let mut slots: Vec<_> = again.iter().filter_map(Queue::claim).collect();
    slots.sort_unstable();
    assert_eq!(slots, (0..SLOTS).filter(|slot| *slot != 7).collect::<Vec<_>>());
    assert_eq!(late.claim(), None);
    assert!(late.change(7, State::Queued, State::Free));
    assert_eq!(late.claim(), Some(7));
}

#[test]
fn what_is_written_is_read_and_bounded() {
    let dir = tempfile::tempdir().expect("a directory");
    let (one, other) = (open(dir.path()), open(dir.path()));
    for len in [0, 1, MAX_BODY, MAX_BODY + 1] {
        let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
        one.write(255, &bytes);
        assert_eq!(other.read(255), bytes[..len.min(MAX_BODY)]);
    }
    let root = Root { seq: u64::MAX, commit: Kid::of_blob(b"x") };
    one.note(3, root);
    assert_eq!((other.noted(3), other.state(3)), (root, State::Noted));
    // A length that lies is no longer than a slot.
    one.copy_in(3, 0, &u32::MAX.to_ne_bytes());
    assert_eq!(other.read(3).len(), MAX_BODY);
}

#[test]
fn a_bell_wakes_whom_it_is_rung_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let (one, other) = (open(dir.path()), open(dir.path()));
    let seen = one.bell(40);
    assert!(one.wait(40, seen, Duration::from_millis(1)), "nobody rings");
    other.ring([40].into_iter());
    assert!(!one.wait(40, seen, Duration::from_secs(60)), "it was rung before");
}

#[test]
fn without_room_for_all_of_it_there_is_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let (flags, room) = (rustix::mount::MountFlags::empty(), Some(c"size=1m"));
    rustix::mount::mount("keg-test", dir.path(), "tmpfs", flags, room).expect("a small disk");
    let none = Queue::open(dir.path()).map(|found| found.is_none());
    let flags = rustix::mount::UnmountFlags::DETACH;
    rustix::mount::unmount(dir.path(), flags).expect("it is mounted");
    assert!(none.expect("no error"));
    // What could not be made before is made when there is room.
    drop(open(dir.path()));
    std::fs::write(dir.path().join("queue"), [0; 5]).expect("written");
    drop(open(dir.path()));
}

#[test]
fn a_queue_of_another_version_is_not_used() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("queue"), b"keg-que9").expect("written");
    assert!(Queue::open(dir.path()).expect("it opens").is_none());
}
