//! Directories of 100,000 names: each answer is a page, in bytes and in memory.

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use keg::{
    NamePath, Txn,
    object::{Entry, EntryName, Tree},
};
use serde_json::json;
use support::World;

/// Names of each directory.
const NAMES: usize = 100_000;
/// Most bytes of an answer.
const MAX_ANSWER: usize = 1 << 20;
/// Most memory that an answer takes: a directory as a whole takes over 30 MB.
const MAX_MEMORY: usize = 8 << 20;

/// The system's allocator, which knows how much is taken, and how much was at most.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn count(more: usize, less: usize) {
    let before = NOW.fetch_add(more, Relaxed);
    MOST.fetch_max(before + more, Relaxed);
    NOW.fetch_sub(less, Relaxed);
}

// SAFETY: everything is the system's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: as our caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Sets a directory whose names begin and end so.
fn fill(world: &World, path: &str, begin: &str, end: &str, value: &Entry) {
    let name = |n| EntryName::new(format!("{begin}{n:05}{end}")).expect("a name");
    let tree = Tree { entries: (0..NAMES).map(|n| (name(n), value.clone())).collect() };
    let entry = world.keg.objects().put_tree(&tree).expect("stored");
    let path: NamePath = path.parse().expect("a path");
    world.keg.commit(Txn::new("test", "many").set(path, entry)).expect("committed");
}

#[tokio::test]
async fn large_directories_come_in_pages() {
    let world = World::new().await;
    let file = world.keg.objects().put_bytes(b"x").expect("stored");
    let row = world.keg.objects().put_json(&json!({ "n": 1 })).expect("stored");
    fill(&world, "/many", "name-", "", &file);
    fill(&world, "/rows", "row-", ".json", &row);
    let build = Tree { entries: [(EntryName::new("build.json").expect("a name"), row)].into() };
    let build = world.keg.objects().put_tree(&build).expect("stored");
    fill(&world, "/builds", "0123456789a", "", &build);
    for (url, word) in [
        ("/many", "name-00999"),
        ("/many?after=name-50000", "name-50001"),
        ("/many?json", "name-00999"),
        ("/many?json&after=name-98999", "name-99999"),
        ("/many/name-77777?raw", "x"),
        ("/many/name-77777?log&json", "many"),
        ("/many?log", "many"),
        ("/rows", "row-00199"),
        ("/rows?after=row-50000.json", "row-50001"),
        ("/rows?json", r#"{"n":1}"#),
        ("/rows?json&after=row-50000.json", r#"{"n":1}"#),
        ("/rows/row-77777", "row-77777"),
        ("/builds", "100,000"),
        ("/", "/many"),
    ] {
        MOST.store(NOW.load(Relaxed), Relaxed);
        let before = NOW.load(Relaxed);
        let answer = world.get(url).await;
        let taken = MOST.load(Relaxed).saturating_sub(before);
        assert_eq!(answer.status, 200, "{url}: {}", answer.text());
        assert!(answer.text().contains(word), "{url}: {}", answer.text());
        assert!(answer.body.len() <= MAX_ANSWER, "{url}: {} bytes", answer.body.len());
        assert!(taken <= MAX_MEMORY, "{url} took {taken} bytes");
    }
    assert_eq!(world.get("/many/nowhere").await.status, 404);
    // A table stays one to its end, and all pages together are the whole.
    for (url, last) in [("/many?json", "name"), ("/rows?json", "n")] {
        let (mut next, mut count) = (Some(url.to_owned()), 0);
        while let Some(url) = next {
            let answer = world.get(&url).await;
            let page = answer.json();
            let rows = page.as_array().expect("a list");
            assert!(rows.iter().all(|row| !row[last].is_null()), "{url}");
            count += rows.len();
            next = answer.header("link").split(['<', '>']).nth(1).map(str::to_owned);
        }
        assert_eq!(count, NAMES, "{url}");
    }
    let page = world.page("/rows?after=row-99799.json").await;
    assert!(page.contains("row-99999") && !page.contains("The next 200"), "{page}");
    assert!(world.page("/rows").await.contains("after=row-00199.json"));
}
